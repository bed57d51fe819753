package apiclient

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// pageOfDesktops is a reply of the fake cloud with n typical desktops.
func pageOfDesktops(t testing.TB, n int) []byte {
	t.Helper()
	const project = "0bec5db98280d2d02fd6c00c2de791ce"
	cloud := fakecloud.New(fakecloud.Config{Token: "t", DiscardLog: true})
	query := url.Values{"limit": {"100"}}
	for i := range n {
		cloud.Add(project, fakecloud.Typical(i))
		query.Add("desktop_id", fakecloud.TypicalID(i))
	}
	req := httptest.NewRequest(http.MethodGet, "/v2/"+project+"/desktops/detail?"+query.Encode(), nil)
	req.Header.Set("X-Auth-Token", "t")
	w := httptest.NewRecorder()
	cloud.ServeHTTP(w, req)
	body, err := io.ReadAll(w.Result().Body)
	require.NoError(t, err)
	require.Equal(t, n, bytes.Count(body, []byte(`"desktop_id"`)), "%.200s", body)
	return body
}

// BenchmarkDesktops decodes a page of 100 desktops.
func BenchmarkDesktops(b *testing.B) {
	body := pageOfDesktops(b, 100)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var p desktopPage
		if err := decodeObject(body, &p); err != nil || len(p.desktops(reply{})) != 100 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/desktop")
}

// Decoding allocates for what a desktop shows, and not for what is skipped.
func TestDecodingAllocatesLittle(t *testing.T) {
	body := pageOfDesktops(t, 100)
	allocs := testing.AllocsPerRun(10, func() {
		var p desktopPage
		if err := decodeObject(body, &p); err != nil || len(p.desktops(reply{})) != 100 {
			t.Error(err)
		}
	})
	require.LessOrEqual(t, allocs/100, 10.0)
}

// An error of decoding may be logged, and what a reply says may be a secret.
func TestDecodingErrorsDoNotQuoteTheReply(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`{"desktops":"the-token"}`, `{"the-token":tru}`, `{"a":{"the-token":[1,}}`, `{"desktops":[{"attach_user_infos":"the-token"}]}`,
		`{"desktops":12345}`, `{"desktops":[12345]}`, `{"a":"the-token`,
	} {
		var p desktopPage
		err := decodeObject([]byte(body), &p)
		require.ErrorContains(t, err, "at byte", body)
		require.NotContains(t, err.Error(), "the-token")
		require.NotContains(t, err.Error(), "12345")
	}
}
