package dashboard

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/tasks/api"
)

// keys is the page of access keys.
type keys struct {
	Views    []chip
	Table    table
	Projects []string
	Roles    []access.Role
	New      *api.NewKey // just created: shown this one time
}

// revocable is a key with its action.
type revocable struct {
	api.Key
	Own bool // the visitor's
}

func (v *visit) keys() error { return v.keysPage(http.StatusOK, nil) }

func (v *visit) keysPage(status int, made *api.NewKey) error {
	list, err := v.api.Keys(v.Context())
	c, choiceErr := v.choose("")
	// Show a new key even if the rest of the page fails: it cannot be shown again.
	if err = cmp.Or(err, choiceErr); err != nil && made == nil {
		return err
	}
	p := keys{Projects: c.Choices, Roles: access.Roles, New: made}
	valid := slices.DeleteFunc(slices.Clone(list), func(x api.Key) bool { return v.keyState(x).By != "valid" })
	all := v.param("all") != ""
	p.Views = []chip{
		{Name: "valid", N: len(valid), Counted: true, On: !all, Link: "/keys"},
		{Name: "all", N: len(list), Counted: true, On: all, Link: "/keys?all=1"},
	}
	if !all {
		list = valid
	}
	p.Table = table{
		Caption: "Keys, newest first", Order: "newest first", Page: more{From: 1, To: len(list), Total: len(list)}, Empty: "No keys.",
		Columns: []column{{Name: "Key"}, {Name: "Owner"}, {Name: "Role"}, {Name: "Projects"}, {Name: "Unknown users"},
			{Name: "Desktops at most"}, {Name: "Created"},
			{Name: "By"}, {Name: "Last used"}, {Name: "Expires"}, {Name: "State"}, {Name: "Actions", Class: "buttons"}},
	}
	for _, x := range list {
		p.Table.Rows = append(p.Table.Rows, v.keyRow(x))
	}
	p.Table = v.layOut(p.Table)
	return v.page(status, "keys", "Keys", p)
}

func (v *visit) keyRow(x api.Key) row {
	projects := textCell(strings.Join(x.Projects, ", "))
	if len(x.Projects) == 0 {
		projects = textCell("all")
	}
	if x.LastUsedAt.Before(x.CreatedAt) && !x.LastUsedAt.IsZero() {
		x.LastUsedAt = x.CreatedAt // the time of use is stored to the minute
	}
	used, expires := v.timeCell(x.LastUsedAt), v.timeCell(x.ExpiresAt)
	if x.LastUsedAt.IsZero() {
		used = textCell("never")
	}
	acts := cell{Blank: true}
	if v.keyState(x).By == "valid" {
		acts = specialCell(revocable{x, x.ID == v.key.ID})
	}
	return row{Key: x.ID, Cells: []cell{
		mainOf(mainCell{Text: x.Name, ID: x.ID}), textCell(x.Owner), textCell(x.Role), projects, textCell(x.UnknownUsers), textCell(quotaText(x)),
		v.timeCell(x.CreatedAt), textCell(x.CreatedBy), used, expires, v.keyState(x), acts,
	}}
}

// quotaText says how much operations with a key may ask for.
func quotaText(x api.Key) string {
	var limits []string
	if x.DesktopsPerHour > 0 {
		limits = append(limits, thousands(x.DesktopsPerHour)+" an hour")
	}
	if x.DesktopsPerDay > 0 {
		limits = append(limits, thousands(x.DesktopsPerDay)+" a day")
	}
	return strings.Join(limits, ", ")
}

// keyState says whether a key is valid, expired or revoked.
func (v *visit) keyState(x api.Key) cell {
	switch {
	case !x.RevokedAt.IsZero():
		return tagCell("bad", "revoked")
	case !x.ExpiresAt.IsZero() && !v.d.Now().Before(x.ExpiresAt):
		return tagCell("warn", "expired")
	}
	return tagCell("good", "valid")
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
	for name, into := range map[string]*int{"desktops_per_hour": &req.DesktopsPerHour, "desktops_per_day": &req.DesktopsPerDay} {
		if text := v.PostFormValue(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return invalidField(name, "is not a whole number above 0")
			}
			*into = n
		}
	}
	made, err := v.api.CreateKey(v.Context(), req)
	if err != nil {
		return err
	}
	return v.keysPage(http.StatusCreated, &made)
}

func (v *visit) revokeKey() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	k, err := v.api.RevokeKey(v.Context(), v.PathValue("id"), reason)
	if err != nil {
		return err
	}
	return v.redirect("/keys", "Key "+k.ID+" of "+k.Name+" is revoked, and its sessions have ended.")
}
