package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// A panic of a handler is a line of the log, at level error.
func TestErrorsOfNetHTTPAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("something\x1b[2J") }))
	srv.Config.ErrorLog = ErrorLog(zerolog.New(zerolog.SyncWriter(&out)))
	srv.Start()
	_, err := srv.Client().Get(srv.URL)
	require.Error(t, err)
	srv.Close()
	require.Regexp(t, `^\{"level":"error","error":"http: panic serving 127.0.0.1:\d+: something\\u001b\[2J.*","message":"net/http reports an error"\}\n$`, out.String())
}
