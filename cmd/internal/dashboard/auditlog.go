package dashboard

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// auditLog is the page of the audit log.
type auditLog struct {
	By, Target, From, To string
	Actions              []auditAction
	Active               []chip
	Table                table
}

func (auditLog) refreshAfter() int { return 15 }

// auditAction is a choice of the filter.
type auditAction struct {
	Action tasks.AuditAction
	On     bool
}

// Text is the action in words.
func (a auditAction) Text() string { return actionText(a.Action) }

func actionText(a tasks.AuditAction) string {
	text := strings.NewReplacer(".", " ", "_", " ", "redrive", "bulk retry").Replace(string(a))
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (v *visit) auditPage() error {
	p := auditLog{
		By: strings.TrimSpace(v.param("by")), Target: strings.TrimSpace(v.param("target")), From: v.param("from"), To: v.param("to"),
	}
	action := tasks.AuditAction(v.param("action"))
	at := v.times()
	f := tasks.AuditFilter{Action: action, By: p.By, Target: p.Target, From: at.field("from", &p.From), To: at.field("to", &p.To)}
	if err := at.err(); err != nil {
		return err
	}
	for _, a := range tasks.AuditActions {
		p.Actions = append(p.Actions, auditAction{a, a == action})
	}
	for _, x := range [][3]string{{"action", "action", actionText(action)}, {"by", "by", p.By}, {"target", "target", p.Target},
		{"from", "from", p.From}, {"to", "to", p.To}} {
		if x[2] != "" {
			p.Active = append(p.Active, chip{Name: x[1], Value: x[2], Link: v.toggled(x[0], x[2])})
		}
	}
	rows, next, err := fill(v.token(), func(size int, token string) ([]tasks.AuditEvent, string, error) {
		return v.api.Audit(v.Context(), f, size, token)
	})
	if err != nil {
		return err
	}
	p.Table = table{
		Caption: "Audit log, newest first", Order: "newest first", Page: v.more(next, len(rows)), Empty: "No entries match.", Fixed: true,
		Columns: []column{{Name: "Action"}, {Name: "By"}, {Name: "Target", Class: "ref"}, {Name: "Project"}, {Name: "Outcome"},
			{Name: "Reason", Class: "wide"}, {Name: "Detail"}, {Name: "Address"}, {Name: "Time"}},
	}
	for _, e := range rows {
		p.Table.Rows = append(p.Table.Rows, v.auditRow(e))
	}
	p.Table = v.layOut(p.Table)
	return v.page(http.StatusOK, "audit", "Audit log", p)
}

func (v *visit) auditRow(e tasks.AuditEvent) row {
	what := mainCell{Text: actionText(e.Action)}
	if e.Seq > 0 {
		what.Note = "entry " + strconv.FormatInt(e.Seq, 10)
	}
	outcome := cell{Blank: true}
	if e.Outcome == tasks.AuditFailed {
		outcome = tagCell("bad", "failed")
		if e.OfSeq > 0 {
			outcome = tagCell("bad", "entry "+strconv.FormatInt(e.OfSeq, 10)+" failed")
		}
	}
	by := personText{Name: cmp.Or(e.Owner, e.KeyName)}
	if e.KeyName != by.Name {
		by.Key = e.KeyName
	}
	return row{Key: e.ID, Cells: []cell{
		mainOf(what), {Kind: "special", V: by, Blank: by.Name == "", By: by.Name}, auditTarget(e), textCell(e.Project), outcome,
		textCell(e.Reason), textCell(e.Detail), textCell(e.Address), v.stampCell(e.At),
	}}
}

// personText is a person, and the key that the person used.
type personText struct{ Name, Key string }

// auditTarget leads to what was changed, if it has a page.
func auditTarget(e tasks.AuditEvent) cell {
	kind, _, _ := strings.Cut(string(e.Action), ".")
	switch kind {
	case "operation":
		return idCell("/operations/"+url.PathEscape(e.Target), e.Target)
	case "redrive":
		return idCell("/redrives/"+url.PathEscape(e.Target), e.Target)
	case "key":
		return idCell("/keys?all=1", e.Target)
	case "project":
		return linkCell("/projects", e.Target)
	}
	return textCell(e.Target)
}
