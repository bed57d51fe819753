package dashboard

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// cameBackForm is the form that asks who has a desktop again.
type cameBackForm struct {
	choice
	Days string
}

func (v *visit) cameBackForm() error {
	c, err := v.choose(v.param("project"))
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "newreview", "Who came back", cameBackForm{choice: c, Days: "30"})
}

func (v *visit) startReview() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	days, err := wholeNumber("days", v.PostFormValue("days"))
	if err != nil {
		return err
	}
	if days < 1 || days > mostDays {
		return invalidField("days", "is not 1 to 3650")
	}
	x, err := v.api.ReviewAccess(v.Context(), api.AccessReviewRequest{
		Since: api.Since{Ago: tasks.Duration(time.Duration(days) * 24 * time.Hour)}, Project: v.PostFormValue("project"),
	})
	if err != nil {
		return err
	}
	return v.redirect("/came-back/"+x.ID, "")
}

const mostDays = 3650

// review is the page of who came back.
type review struct {
	X     tasks.AccessReview
	Table table
}

func (p review) Reading() bool { return p.X.State == tasks.PlanReading }

func (p review) refreshAfter() int { return secondsIf(p.Reading(), 2, 0) }

func (p review) titleState() string {
	if p.Reading() {
		return percent(p.X.Read, p.X.People)
	}
	return ""
}

// howTexts say how somebody has a desktop again, with their weights.
var howTexts = map[string]tagText{
	tasks.CameSame: {"bad", "the same desktop"}, tasks.CameOther: {"bad", "another desktop"}, tasks.CameShared: {"warn", "a shared desktop"},
	tasks.CameByUndo: {"", "given back by an undo"}, tasks.CameByGroup: {"warn", "perhaps by a group"},
}

func (v *visit) review() error {
	x, err := v.api.AccessReview(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	t := table{
		Caption: "People who have a desktop again", Order: "by project and name", Empty: "Nobody.",
		Columns: []column{{Name: "Person"}, {Name: "Has"}, {Name: "Desktop"}, {Name: "Project"}, {Name: "Users now"}, {Name: "Account"},
			{Name: "Why", Class: "wide"}, {Name: "Lost"}, {Name: "When"}, {Name: "By operation", Class: "ref"},
			{Name: "Given back by", Class: "ref"}},
	}
	if x.State == tasks.PlanDone {
		items, next, err := fill(v.token(), func(size int, token string) ([]tasks.Returned, string, error) {
			return v.api.CameBack(v.Context(), x.ID, size, token)
		})
		if err != nil {
			return err
		}
		t.Page = v.more(next, len(items))
		for _, c := range items {
			t.Rows = append(t.Rows, v.returnedRow(c))
		}
	}
	return v.page(http.StatusOK, "review", "Who came back", review{X: x, Table: v.layOut(t)})
}

func (v *visit) returnedRow(c tasks.Returned) row {
	tag, account, desktop := howTexts[c.How], "", cell{Blank: true}
	if c.OtherUser {
		account = "another one with the name"
	}
	if c.DesktopID != "" {
		desktop = desktopCell(c.DesktopID, c.ComputerName)
	}
	return row{Key: c.User + " " + c.Project + " " + c.DesktopID, Cells: []cell{
		mainOf(mainCell{Link: personLink(c.User), Text: c.User}), tagCell(tag.Weight, tag.Text), desktop, textCell(c.Project),
		textCell(people(c.Users)), textCell(account), textCell(c.Why), desktopCell(c.DetachedDesktopID, ""), v.timeCell(c.DetachedAt),
		idCell("/operations/"+c.DetachedOperationID, c.DetachedOperationID), idCell("/operations/"+c.UndoID, c.UndoID),
	}}
}

// reviewCSV is a download of all of it.
func (v *visit) reviewCSV() error {
	id := v.PathValue("id")
	return v.file("came-back-"+id+".csv", "text/csv; charset=utf-8", func(ctx context.Context, w io.Writer) error {
		return v.api.CameBackCSV(ctx, w, id)
	})
}
