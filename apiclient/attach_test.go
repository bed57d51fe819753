package apiclient_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

var ann = apiclient.User{ID: "u1", Name: "ann", Domain: "d.local", Group: "sudo", Type: "USER"}

// The whole body, because every further field would do harm: computer_name renames the
// desktop, user_email writes to the user, image and encryption fields rebuild disks.
func TestAttachSends(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		desktop apiclient.Attachment
		body    string
	}{
		"a user": {
			apiclient.Attachment{DesktopID: "d1", Users: []apiclient.User{ann}},
			`{"desktops":[{"desktop_id":"d1","user_name":"ann","user_id":"u1","user_group":"sudo","is_clear_data":false}]}`,
		},
		"without an id": {
			apiclient.Attachment{DesktopID: "d1", Users: []apiclient.User{{Name: "ann", Group: "users"}}},
			`{"desktops":[{"desktop_id":"d1","user_name":"ann","user_group":"users","is_clear_data":false}]}`,
		},
		"shared": {
			apiclient.Attachment{DesktopID: "d1", Shared: true, Users: []apiclient.User{ann, {Name: "ops", Group: "users", Type: "GROUP"}}},
			`{"desktops":[{"desktop_id":"d1","is_clear_data":false,"attach_user_infos":[` +
				`{"user_id":"u1","user_name":"ann","domain":"d.local","user_group":"sudo","type":"USER"},` +
				`{"user_name":"ops","user_group":"users","type":"GROUP"}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var path, body string
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				path, body = r.Method+" "+r.RequestURI, bodyOf(r)
				answer(200, `{"job_id":"j1"}`)(w, r)
			})
			got, err := client(t, srv.URL).Attach(t.Context(), []apiclient.Attachment{test.desktop})
			require.NoError(t, err)
			require.Equal(t, "POST "+apiPath+"/desktops/attach", path)
			require.Equal(t, test.body, body)
			require.Equal(t, "j1", got.JobID)
			require.Equal(t, 200, got.Status)
		})
	}
}

func TestAttachRefusesToSend(t *testing.T) {
	t.Parallel()
	c := client(t, serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent") }).URL)
	many := make([]apiclient.Attachment, apiclient.MaxAttachPerCall+1)
	for i := range many {
		many[i] = apiclient.Attachment{DesktopID: fmt.Sprint("d", i), Users: []apiclient.User{ann}}
	}
	one := func(a apiclient.Attachment) []apiclient.Attachment { return []apiclient.Attachment{a} }
	for name, desktops := range map[string][]apiclient.Attachment{
		"none":               nil,
		"too many":           many,
		"twice":              {many[0], many[0]},
		"nobody":             one(apiclient.Attachment{DesktopID: "d1"}),
		"two of a desktop":   one(apiclient.Attachment{DesktopID: "d1", Users: []apiclient.User{ann, ann}}),
		"nobody of a shared": one(apiclient.Attachment{DesktopID: "d1", Shared: true}),
		"no name":            one(apiclient.Attachment{DesktopID: "d1", Users: []apiclient.User{{ID: "u1", Group: "users"}}}),
		"no group":           one(apiclient.Attachment{DesktopID: "d1", Users: []apiclient.User{{ID: "u1", Name: "ann"}}}),
	} {
		_, err := c.Attach(t.Context(), desktops)
		e := fault(t, err)
		require.Equal(t, apiclient.EffectNone, e.Effect, name)
		require.True(t, e.Local, name)
		require.Equal(t, "AttachInstances", e.Op)
	}
}

func TestUsersTellWhoCannotSignIn(t *testing.T) {
	t.Parallel()
	srv := serve(t, answer(200, `{"users":[{"id":"1","user_name":"a","locked":true},{"id":"2","user_name":"b","disabled":"true"},
		{"id":"3","user_name":"c","locked":false,"disabled":null},{"id":"4","user_name":"d","locked":"perhaps"}],"total_count":4}`))
	people, err := client(t, srv.URL).Users(t.Context())
	require.NoError(t, err)
	var locked, disabled []bool
	for _, p := range people {
		locked, disabled = append(locked, p.Locked), append(disabled, p.Disabled)
	}
	require.Equal(t, []bool{true, false, false, true}, locked, "what cannot be read counts as locked")
	require.Equal(t, []bool{false, true, false, false}, disabled)
}
