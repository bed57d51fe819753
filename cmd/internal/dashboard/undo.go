package dashboard

import (
	"crypto/rand"
	"net/http"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// undoForm is the page that shows which desktops an undo would give back, before it begins.
type undoForm struct {
	Op      tasks.Operation
	Picks   []string // the selected desktops; empty: all
	Matched int
	Gone    int    // selected, and cannot be given back
	Key     string // of idempotency
	Type    bool   // the number must be typed
	Table   table  // the first of them
}

// undoable reports whether an undo of the operation can name a desktop.
func undoable(op tasks.Operation, d tasks.Desktop) bool {
	return op.UndoOf == "" && (d.State == tasks.StateDetached || d.State == tasks.StateAccepted)
}

// undoOf reads which desktops an undo would be about: the selected ones of the form, or all
// that the operation detached by a call.
func (v *visit) undoOf() (p undoForm, err error) {
	if err := v.ParseForm(); err != nil {
		return p, badForm(err)
	}
	whole, err := v.api.OperationState(v.Context(), v.PathValue("id"))
	if err != nil {
		return p, err
	}
	p.Op = whole.Operation
	picks := map[string]bool{}
	for _, id := range v.PostForm["pick"] {
		picks[id] = true
	}
	t := table{
		Caption: "Desktops to give back, in request order", NoFoot: true, Fixed: true,
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "State"}, {Name: "Users before"}, {Name: "Given back by", Class: "ref"},
			{Name: "Since"}},
	}
	f := tasks.DesktopFilter{States: []tasks.State{tasks.StateDetached, tasks.StateAccepted}}
	for token := ""; p.Op.UndoOf == ""; {
		rows, next, err := v.api.Desktops(v.Context(), p.Op.ID, f, 1000, token)
		if err != nil {
			return p, err
		}
		for _, d := range rows {
			if len(picks) == 0 && d.CallID == "" || len(picks) > 0 && !picks[d.ID] {
				continue
			}
			if p.Matched++; len(picks) > 0 {
				p.Picks = append(p.Picks, d.ID)
			}
			if p.Matched > rowsShown {
				continue
			}
			name, users := "", textCell("not recorded")
			if d.Before != nil && d.CallID != "" {
				name, users = d.Before.Name, textCell(usersBefore(d.Before))
			}
			t.Rows = append(t.Rows, row{Key: d.ID, Cells: []cell{
				desktopCell(d.ID, name), stateCell(p.Op, d.State, d.Note), users, givenBackCell(d.Desktop), v.timeCell(d.UpdatedAt),
			}})
		}
		if token = next; token == "" {
			break
		}
	}
	p.Gone = len(picks) - len(p.Picks)
	p.Type = p.Matched >= confirmFrom
	p.Table = v.layOut(t)
	return p, nil
}

func (v *visit) previewUndo() error {
	p, err := v.undoOf()
	if err != nil {
		return err
	}
	if v.Method == http.MethodPost && len(v.PostForm["pick"]) == 0 {
		return invalidField("pick", "is missing: select at least one desktop") // and not all of them
	}
	p.Key = rand.Text()
	return v.page(http.StatusOK, "undo", "Undo operation "+p.Op.ID, p)
}

func (v *visit) startUndo() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	p, err := v.undoOf()
	if err != nil {
		return err
	}
	matched, err := wholeNumber("matched", v.PostFormValue("matched"))
	if err != nil {
		return err
	}
	if matched != p.Matched || p.Gone > 0 {
		return changed("nothing was given back: %s can be given back now, and you saw %s. Begin again at the operation",
			plural(p.Matched, "desktop", "desktops"), thousands(matched))
	}
	if err := v.confirmCount(matched); err != nil {
		return err
	}
	undo, err := v.api.Undo(v.Context(), p.Op.ID, api.UndoRequest{Desktops: p.Picks, Reason: reason, IdempotencyKey: v.PostFormValue("key")})
	if err != nil {
		return err
	}
	return v.redirect("/operations/"+undo.ID, "The undo is accepted. This page shows the progress.")
}
