package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

// Secrets are read once for each count of resumes, and not while Redis is away.
func TestCredentialsAreReadForEachResume(t *testing.T) {
	t.Parallel()
	var resumes int64
	var away, unreadable error
	reads, asks := 0, 0
	c := &credentials{
		auth:    apiclient.StaticToken("first"),
		resumes: func(context.Context) (int64, error) { asks++; return resumes, away },
		read: func() (apiclient.Authenticator, error) {
			if unreadable != nil {
				return nil, unreadable
			}
			reads++
			return apiclient.StaticToken(apiclient.Secret(fmt.Sprint("read-", reads))), nil
		},
	}
	sent := func() string {
		c.checked = time.Time{} // some time has passed
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h", nil)
		require.NoError(t, err)
		if _, err := c.Authenticate(req, nil); err != nil {
			var fault *apiclient.Error
			require.ErrorAs(t, err, &fault)
			require.True(t, fault.AuthFault, "it pauses the project")
			require.Equal(t, apiclient.EffectNone, fault.Effect)
			return fault.Message
		}
		return req.Header.Get("X-Auth-Token")
	}
	away = errors.New("away")
	require.Equal(t, "first", sent())
	away = nil
	require.Equal(t, "read-1", sent(), "it may have been resumed since the start")
	require.Equal(t, "read-1", sent())
	before := asks
	for range 10 {
		_, err := c.current(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, before, asks, "not asked before each call")
	resumes++
	unreadable = errors.New("no such file")
	require.Equal(t, "no such file", sent())
	require.Equal(t, "no such file", sent())
	unreadable = nil
	require.Equal(t, "read-2", sent())
	resumes--
	require.Equal(t, "read-3", sent(), "a failover lost a resume, and the next one has its number")
	require.NotContains(t, fmt.Sprintf("%v %+v", c, c), "read-3")
}
