package apiclient_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/detachd/detachd/apiclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	project  = "0bec5db98280d2d02fd6c00c2de791ce"
	basePath = "/some/base"
	apiPath  = basePath + "/v2/" + project
)

// serve runs handler until the end of the test.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(handler)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// transport is one that leaves no connection behind.
func transport(t *testing.T) *http.Transport {
	t.Helper()
	tr := apiclient.NewTransport()
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// client speaks to the server at address under a base path.
func client(t *testing.T, address string, changes ...func(*apiclient.Config)) *apiclient.Client {
	t.Helper()
	cfg := apiclient.Config{
		ProjectID: project,
		Endpoint:  address + basePath,
		Auth:      apiclient.StaticToken("static-token"),
		Transport: transport(t),
	}
	for _, change := range changes {
		change(&cfg)
	}
	c, err := apiclient.New(cfg)
	require.NoError(t, err)
	return c
}

// answer is a handler that says the same to everybody. headers are pairs.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// detachOne is the request whose failure matters.
func detachOne(t *testing.T, c *apiclient.Client) (*apiclient.DetachResult, error) {
	t.Helper()
	return c.Detach(t.Context(), apiclient.DetachRequest{DesktopIDs: []string{"d1"}})
}

// fault insists on an *Error.
func fault(t *testing.T, err error) *apiclient.Error {
	t.Helper()
	var e *apiclient.Error
	require.ErrorAs(t, err, &e)
	return e
}

func bodyOf(r *http.Request) string {
	var b strings.Builder
	_, _ = io.Copy(&b, r.Body)
	return b.String()
}
