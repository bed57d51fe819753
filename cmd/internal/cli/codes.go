package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/worker"
)

// codesView is the JSON of codes.
type codesView struct {
	Codes    []codeView    `json:"codes"`
	Classes  []classView   `json:"classes"`
	Readings []readingView `json:"readings"`
}

type codeView struct {
	Of     worker.RuleOf `json:"of"`
	Status int           `json:"status,omitempty"`
	Code   string        `json:"code,omitempty"`
	Class  worker.Class  `json:"class"`
	Why    string        `json:"why"`
}

type classView struct {
	Class worker.Class `json:"class"`
	Does  string       `json:"does"`
}

type readingView struct {
	Reads   string        `json:"reads"`
	Before  worker.Action `json:"before_sending"`
	Unknown worker.Action `json:"after_an_unknown_outcome"`
	After   worker.Action `json:"after_accepted"`
	Code    string        `json:"code,omitempty"`
	Why     string        `json:"why"`
}

func (p *Program) codesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "codes",
		Short: "Explain error codes, and what a reading of a desktop means",
		Long: `Prints the tables by which workers decide: what an error of the cloud means and
what is done about it, and what a reading of a desktop means before it is sent,
after a call whose outcome nobody knows, and after the cloud has accepted it. In
each the first row that matches wins; codes of the configuration go first.
Whatever may have taken effect is ambiguous, whatever the table says.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(*cobra.Command, []string) error {
			cfg, err := p.loadConfig()
			if err != nil {
				return err
			}
			v := codesOf(app.Rules(cfg))
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			for i, t := range v.tables() {
				if i > 0 {
					p.out("")
				}
				if err := t.print(p.Stdout); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func codesOf(extra []worker.Rule) codesView {
	var v codesView
	for _, r := range worker.Table(extra) {
		v.Codes = append(v.Codes, codeView(r))
	}
	for _, c := range worker.Classes() {
		v.Classes = append(v.Classes, classView(c))
	}
	for _, r := range worker.Verdicts() {
		v.Readings = append(v.Readings, readingView{r.Reads, r.Before, r.Unknown, r.After, r.Code, r.Why})
	}
	return v
}

func (v codesView) tables() []*table {
	codes := &table{header: []string{"REFUSED", "STATUS", "CODE", "CLASS", "WHY"}}
	for _, c := range v.Codes {
		status := strconv.Itoa(c.Status)
		switch {
		case c.Status == 0:
			status = ""
		case c.Status < 10:
			status += "xx"
		}
		codes.add(string(c.Of), status, c.Code, string(c.Class), c.Why)
	}
	classes := &table{header: []string{"CLASS", "WHAT IS DONE"}}
	for _, c := range v.Classes {
		classes.add(string(c.Class), c.Does)
	}
	readings := &table{header: []string{"A DESKTOP READS AS", "BEFORE SENDING", "OUTCOME UNKNOWN", "ACCEPTED", "CODE", "WHY"}}
	for _, r := range v.Readings {
		readings.add(r.Reads, string(r.Before), string(r.Unknown), string(r.After), r.Code, r.Why)
	}
	return []*table{codes, classes, readings}
}
