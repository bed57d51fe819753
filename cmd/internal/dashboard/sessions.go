package dashboard

import (
	"cmp"
	"net/http"

	"github.com/detachd/detachd/cmd/internal/access"
)

// sessions is the page of who is signed in.
type sessions struct {
	All   bool // of all keys, else of the visitor's
	Table table
}

func (sessions) refreshAfter() int { return 15 }

func (v *visit) sessions() error {
	list, err := v.api.Sessions(v.Context())
	if err != nil {
		return err
	}
	p := sessions{All: v.may(access.Admin) && len(v.key.Projects) == 0, Table: table{
		Caption: "Sessions, the last used first", Order: "last used first", Page: more{From: 1, To: len(list), Total: len(list)},
		Empty: "No sessions.",
		Columns: []column{{Name: "Person"}, {Name: "Key"}, {Name: "Address"}, {Name: "Browser", Class: "wide"}, {Name: "Started"},
			{Name: "Last used"}, {Name: "Ends"}, {Name: "State"}, {Name: "Actions", Class: "buttons"}},
	}}
	for _, x := range list {
		state := cell{Blank: true}
		if x.Current {
			state = tagCell("good", "this browser")
		}
		p.Table.Rows = append(p.Table.Rows, row{Key: x.ID, Cells: []cell{
			mainOf(mainCell{Text: cmp.Or(x.Owner, x.KeyName)}), textCell(x.KeyName), textCell(x.Address), textCell(x.UserAgent),
			v.timeCell(x.StartedAt), v.timeCell(x.LastUsedAt), v.timeCell(x.ExpiresAt), state, specialCell(x),
		}})
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, "sessions", "Sessions", p)
}

func (v *visit) endSession() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	x, err := v.api.EndSession(v.Context(), v.PathValue("id"), reason)
	if err != nil {
		return err
	}
	return v.redirect("/sessions", "The session of "+cmp.Or(x.Owner, x.KeyName)+" has ended.")
}
