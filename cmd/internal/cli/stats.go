package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
)

type statsView struct {
	Projects []tasks.Stats `json:"projects"`
}

func (p *Program) statsCommand() *cobra.Command {
	var project string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show how each project is doing",
		Long: `Shows how many operations are scheduled, what is queued, with the cloud or not proven, what failed or is held, what
came of the last 24 hours, how long the queue is and has been waiting, and whether a
project is paused. --json has the day in steps of a quarter of an hour, too. Numbers
of what happened lag some seconds behind.`,
		Args: cobra.NoArgs,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			all, err := c.Stats(cmd.Context(), project)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, statsView{all})
			}
			for _, s := range all {
				if s.Partial {
					p.say("note: more operations are open than were looked at; more is queued, sending and accepted than shown")
					break
				}
			}
			for _, s := range all {
				if n := s.Unserved(); n > 0 {
					p.say("note: no worker serves project %s: %s of it wait", s.Project, count(n, "row"))
				}
			}
			return statsTable(all).print(p.Stdout)
		}),
	}
	cmd.Flags().StringVar(&project, "project", "", "only that project `alias`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statsTable(all []tasks.Stats) *table {
	t := &table{header: []string{
		"PROJECT", "SCHEDULED", "QUEUED", "SENDING", "ACCEPTED", "FAILED", "HELD", "DETACHED 24H", "WAITING TASKS", "FOR", "CALLS/MIN", "THROTTLED 1H", "PAUSED",
	}}
	for _, s := range all {
		paused, waited := "", ""
		if s.Pause != nil {
			paused = fmt.Sprintf("%s: %s", s.Pause.Kind, s.Pause.Reason)
		}
		if s.Waiting > 0 {
			waited = seconds(time.Duration(s.OldestMS) * time.Millisecond)
		}
		t.add(s.Project, strconv.Itoa(s.Scheduled), strconv.Itoa(s.Counts.Queued), strconv.Itoa(s.Counts.Sending), strconv.Itoa(s.Counts.Accepted),
			strconv.Itoa(s.Counts.Failed), strconv.Itoa(s.Counts.Held), strconv.Itoa(s.Counts.Detached), strconv.Itoa(s.Waiting), waited,
			strconv.FormatFloat(s.CallsPerMinute, 'f', 0, 64), strconv.Itoa(s.Throttled), paused)
	}
	return t
}
