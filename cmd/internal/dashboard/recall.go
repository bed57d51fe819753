package dashboard

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// recallForm is the form that takes a person back out of what was requested.
type recallForm struct {
	choice
	User, Source, Ticket string
	Key                  string // of idempotency
}

func (v *visit) recallForm() error {
	c, err := v.choose(v.param("project"))
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "newrecall", "Recall a person", recallForm{
		choice: c, User: v.param("user"), Source: v.param("source"), Ticket: v.param("ticket"), Key: rand.Text(),
	})
}

func (v *visit) startRecall() error {
	reason, err := v.reason()
	if err != nil {
		return err
	}
	get := func(name string) string { return strings.TrimSpace(v.PostFormValue(name)) }
	x, err := v.api.Recall(v.Context(), api.RecallRequest{
		User: get("user"), Source: get("source"), Ticket: get("ticket"), Project: get("project"), Reason: reason, IdempotencyKey: get("key"),
	})
	if err != nil {
		return err
	}
	return v.redirect("/recalls/"+x.ID, "Recalled. This page shows what was cancelled, and what was too late.")
}

func (v *visit) recalls() error {
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.Recall, string, error) {
		return v.api.Recalls(v.Context(), size, token)
	})
	if err != nil {
		return err
	}
	t := table{
		Caption: "Recalls, newest first", Order: "newest first", Page: v.more(next, len(rows)), Empty: "No recalls yet.",
		Columns: []column{{Name: "Person", Class: "first"}, {Name: "Reason", Class: "wide"}, {Name: "Of requests by"}, {Name: "Ticket"},
			{Name: "Project"}, {Name: "Recalled by"}, {Name: "When"}},
	}
	for _, x := range rows {
		t.Rows = append(t.Rows, row{Key: x.ID, Cells: []cell{
			mainOf(mainCell{Link: "/recalls/" + x.ID, Text: x.User, ID: x.ID}), textCell(x.Reason), textCell(x.Source), textCell(x.Ticket),
			textCell(x.Project), textCell(x.RequestedBy), v.timeCell(x.CreatedAt),
		}})
	}
	return v.page(http.StatusOK, "recalls", "Recalls", recalls{v.layOut(t)})
}

// recalls is the list of recalls.
type recalls struct{ Table table }

func (recalls) refreshAfter() int { return 15 }

// recall is the page of a recall.
type recall struct {
	X     tasks.RecallResult
	Table table
}

func (p recall) refreshAfter() int { return secondsIf(p.X.Counts.InCall+p.X.Counts.Queued > 0, 2, 15) }

// outcomes are the outcomes in words, those first that a person has to look at.
var outcomes = []struct {
	tasks.RecallOutcome
	tagText
	count func(tasks.RecallCounts) int
}{
	{tasks.RecallTooLate, tagText{"bad", "too late"}, func(c tasks.RecallCounts) int { return c.TooLate }},
	{tasks.RecallInCall, tagText{"busy", "in a call"}, func(c tasks.RecallCounts) int { return c.InCall }},
	{tasks.RecallHeld, tagText{"warn", "on hold"}, func(c tasks.RecallCounts) int { return c.Held }},
	{tasks.RecallQueued, tagText{"", "cancelled at its turn"}, func(c tasks.RecallCounts) int { return c.Queued }},
	{tasks.RecallCancelled, tagText{"good", "cancelled"}, func(c tasks.RecallCounts) int { return c.Cancelled }},
	{tasks.RecallFailed, tagText{"", "failed, and is not retried"}, func(c tasks.RecallCounts) int { return c.Failed }},
	{tasks.RecallNothing, tagText{"", "no access lost"}, func(c tasks.RecallCounts) int { return c.Nothing }},
}

// Outcomes are the counts that are not zero.
func (p recall) Outcomes() (out []outcomeCount) {
	for _, x := range outcomes {
		if n := x.count(p.X.Counts); n > 0 {
			out = append(out, outcomeCount{x.tagText, n})
		}
	}
	return out
}

type outcomeCount struct {
	tagText
	N int
}

func (v *visit) recall() error {
	x, err := v.api.RecallByID(v.Context(), v.PathValue("id"))
	if err != nil {
		return err
	}
	t := table{
		Caption: "Rows about the person, too late first", NoFoot: true,
		Empty: "No operation that was accepted before the recall is about this person.",
		Columns: []column{{Name: "Desktop", Class: "first"}, {Name: "Outcome"}, {Name: "Operation", Class: "ref"}, {Name: "Project"},
			{Name: "Requested by"}, {Name: "Others"}, {Name: "Given back by", Class: "ref"}},
	}
	for _, o := range outcomes {
		for _, r := range x.Rows {
			if r.Outcome != o.RecallOutcome {
				continue
			}
			t.Rows = append(t.Rows, row{Key: r.OperationID + "/" + r.ID, Cells: []cell{
				desktopCell(r.ID, ""), tagCell(o.Weight, o.Text), idCell("/operations/"+r.OperationID, r.OperationID), textCell(r.Project),
				textCell(r.RequestedBy), textCell(strings.Join(r.Others, ", ")), idCell("/operations/"+r.GivenBackBy, r.GivenBackBy),
			}})
		}
	}
	return v.page(http.StatusOK, "recall", "Recall of "+x.User, recall{X: x, Table: v.layOut(t)})
}
