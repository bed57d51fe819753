package dashboard

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// keys is the page of access keys.
type keys struct {
	Rows     []api.Key
	Projects []string
	Roles    []access.Role
	New      *api.NewKey // just created: shown this one time
	Now      time.Time
}

// Ended reports whether a key is revoked or expired.
func (k keys) Ended(x api.Key) bool {
	return !x.RevokedAt.IsZero() || !x.ExpiresAt.IsZero() && !k.Now.Before(x.ExpiresAt)
}

func (v *visit) keys() error { return v.keysPage(http.StatusOK, nil) }

func (v *visit) keysPage(status int, made *api.NewKey) error {
	list, err := v.api.Keys(v.Context())
	c, choiceErr := v.choose("")
	// Show a new key even if the rest of the page fails: it cannot be shown again.
	if err = cmp.Or(err, choiceErr); err != nil && made == nil {
		return err
	}
	return v.page(status, "keys", "Keys", keys{Rows: list, Projects: c.Choices, Roles: access.Roles, New: made, Now: v.d.Now()})
}

func (v *visit) createKey() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	at := v.times()
	req := api.KeyRequest{
		Name: strings.TrimSpace(v.PostFormValue("name")), Owner: strings.TrimSpace(v.PostFormValue("owner")),
		Role: v.PostFormValue("role"), Projects: v.PostForm["project"],
		UnknownUsers: v.PostFormValue("unknown_users"), ExpiresAt: at.parse("expires_at", v.PostFormValue("expires_at")),
	}
	if err := at.err(); err != nil {
		return err
	}
	made, err := v.api.CreateKey(v.Context(), req)
	if err != nil {
		return err
	}
	return v.keysPage(http.StatusCreated, &made)
}

func (v *visit) revokeKey() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	k, err := v.api.RevokeKey(v.Context(), v.PathValue("id"), v.PostFormValue("reason"))
	if err != nil {
		return err
	}
	return v.redirect("/keys", "Key "+k.ID+" of "+k.Name+" is revoked, and its sessions have ended.")
}
