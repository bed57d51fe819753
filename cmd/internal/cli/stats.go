package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) statsCommand() *cobra.Command {
	var project, within string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Show the state of each project",
		Long: `Shows for each project: scheduled operations; desktops queued, in calls, not yet
confirmed, failed or on hold; results of the last hour, day or week; the length
and age of the queue; and whether it is paused. --json also has the period in
steps. Counts of past events lag some seconds behind.`,
		Example: `  detachd stats
  detachd stats --project hq --range 7d --json`,
		Args: noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			if tasks.StatsRange(within).Steps() == 0 {
				return usage("give 1h, 24h or 7d", "invalid --range %s", shown(within))
			}
			all, err := c.Stats(cmd.Context(), project, tasks.StatsRange(within))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, api.Page[tasks.Stats]{Items: all})
			}
			for _, s := range all {
				if s.Partial {
					p.note("note: not all open operations were counted; more desktops are queued, sending and accepted by the cloud than shown")
					break
				}
			}
			waiting := 0
			for _, s := range all {
				waiting += s.AwaitingApproval
			}
			if waiting > 0 {
				p.say("note: %s for an approval, see detachd list --waiting", plural(waiting, "operation waits", "operations wait"))
			}
			for _, s := range all {
				if n := s.Unserved(); n > 0 {
					p.say("note: no worker serves project %s: waiting: %s", s.Project, count(n, "row"))
				}
			}
			for _, s := range all {
				if s.Pause == nil {
					continue
				}
				if next := endsPause(s.Project, *s.Pause); next != "" {
					p.say("note: project %s: %s\n  next: %s", s.Project, printable(pauseText(*s.Pause)), next)
				}
			}
			return p.show(statsTable(all, within))
		}),
	}
	cmd.Flags().StringVar(&project, "project", "", "only this project `alias`")
	cmd.Flags().StringVar(&within, "range", string(tasks.LastDay), "results of the last `period`: 1h, 24h or 7d")
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statsTable(all []tasks.Stats, within string) *table {
	t := &table{header: []string{
		"PROJECT", "TO APPROVE",
		"SCHEDULED", "DUE TODAY", "QUEUED", "SENDING", "ACCEPTED BY CLOUD", "FAILED", "ON HOLD", "DETACHED " + strings.ToUpper(within),
		"WAITING TASKS", "OLDEST", "CALLS/MIN", "THROTTLED 1H", "PAUSED",
	}, less: []string{"WAITING TASKS", "CALLS/MIN", "OLDEST", "THROTTLED 1H", "SENDING", "ACCEPTED BY CLOUD", "SCHEDULED"}}
	for _, s := range all {
		paused, waited := "", ""
		if s.Pause != nil {
			paused = fmt.Sprintf("%s: %s", s.Pause.Kind, s.Pause.Reason)
		}
		if s.Waiting > 0 {
			waited = seconds(time.Duration(s.OldestMS) * time.Millisecond)
		}
		t.add(s.Project, strconv.Itoa(s.AwaitingApproval),
			strconv.Itoa(s.Scheduled), strconv.Itoa(s.DueToday), strconv.Itoa(s.Counts.Queued), strconv.Itoa(s.Counts.Sending),
			strconv.Itoa(s.Counts.Accepted),
			strconv.Itoa(s.Counts.Failed), strconv.Itoa(s.Counts.Held), strconv.Itoa(s.Counts.Detached), strconv.Itoa(s.Waiting), waited,
			strconv.FormatFloat(s.CallsPerMinute, 'f', 0, 64), strconv.Itoa(s.Throttled), paused)
	}
	return t
}
