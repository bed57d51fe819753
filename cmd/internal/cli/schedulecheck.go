package cli

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/sources"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// checkedSchedule is what schedule check found of one.
type checkedSchedule struct {
	Name    string               `json:"name"`
	Project string               `json:"project"`
	Next    []tasks.ScheduleTick `json:"next"`
	Source  string               `json:"source"`
	Rows    int                  `json:"rows,omitempty"`
	Note    string               `json:"note,omitempty"`
	Error   string               `json:"error,omitempty"`
}

func (p *Program) scheduleCheckCommand() *cobra.Command {
	var asJSON, skipSources bool
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check the schedules of a configuration, on this machine",
		Example: `  detachd schedule check /etc/detachd/config.yaml
  detachd schedule check config.yaml --skip-sources --json`,
		Long: `Reads a configuration as workers do, with its environment: every key, expressions,
zones, projects. Then it reads the lists that schedules name as a run would, and shows
when each runs next. It needs neither Redis nor the cloud, so CI can run it before a
configuration is installed, with --skip-sources where the lists are not. Selectors
are not tried. The exit code is 2 if anything is wrong.`,
		Args: needs("FILE", "detachd schedule check --help"),
		RunE: p.run(func(cmd *cobra.Command, args []string) error {
			if err := p.localOnly("schedule check"); err != nil {
				return err
			}
			cfg, err := config.Load(args[0], p.LookupEnv)
			if err != nil {
				return usage(fixConfig, "%w", err)
			}
			all, wrong := []checkedSchedule{}, 0
			for _, s := range cfg.Schedules {
				x := p.checkSchedule(cmd.Context(), cfg, s, skipSources)
				if x.Error != "" {
					wrong++
				}
				all = append(all, x)
			}
			if err := p.showChecked(cfg, all, asJSON); err != nil {
				return err
			}
			if wrong > 0 {
				return usage("correct what the table names and run the command again; --skip-sources does not read lists",
					"%s cannot run", share(wrong, len(all), "schedule"))
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&skipSources, "skip-sources", false, "do not read lists: they are on another machine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	p.outputFlag(cmd.Flags())
	return cmd
}

// checkSchedule reads the list of a schedule of the configuration, which is valid in itself.
func (p *Program) checkSchedule(ctx context.Context, cfg config.Config, s tasks.Schedule, skipSources bool) checkedSchedule {
	const shownRuns = 3
	s = s.WithDefaults()
	s.Configured = true
	x := checkedSchedule{Name: s.Name, Project: s.Project, Source: s.Source.String(), Next: []tasks.ScheduleTick{}}
	ticks, err := record.NewTicks(s)
	if err != nil {
		x.Error = err.Error()
		return x
	}
	if x.Next = ticks.Following(p.Now(), shownRuns); len(x.Next) == 0 {
		x.Note = "it has no further runs"
	}
	expected := 0
	switch n := s.Source.NotIn; {
	case s.Source.Selector != nil, s.Source.CameBack != nil:
		x.Note = "the cloud was not asked"
		return x
	case skipSources && (n != nil || s.Source.File != ""):
		x.Note = "the list was not read"
		return x
	case n != nil: // as a first run, which reads the list only
		first := *n
		first.Rows, expected = 0, n.Rows*n.AtLeast
		s.Source.NotIn = &first
	}
	found, err := sources.New(sources.Config{Lists: cfg.Worker.Lists, Now: p.Now}).Read(ctx, s, -1)
	if err == nil {
		err = found.Err()
	}
	x.Rows = found.Rows
	switch {
	case err != nil:
		x.Error = err.Error()
	case found.Rows*100 < expected:
		x.Error = fmt.Sprintf("the list has %d rows: at least %d are required, or correct rows or at_least", found.Rows, (expected+99)/100)
	case expected == 0 && found.Note != "":
		x.Note = found.Note
	}
	return x
}

func (p *Program) showChecked(cfg config.Config, all []checkedSchedule, asJSON bool) error {
	if asJSON {
		return printJSON(p.Stdout, struct {
			Items []checkedSchedule `json:"items"`
		}{all})
	}
	if len(all) == 0 {
		p.note("the configuration is valid, and has no schedules")
		return nil
	}
	t := &table{header: []string{"SCHEDULE", "PROJECT", "SOURCE", "ROWS", "NEXT", "CLOCKS", "FOUND"}, less: []string{"PROJECT"}}
	for i, x := range all {
		found := x.Note
		if x.Error != "" {
			found = "wrong: " + x.Error
		}
		name, project, source, rows := x.Name, x.Project, x.Source, strconv.Itoa(x.Rows)
		for _, tick := range append(x.Next, make([]tasks.ScheduleTick, max(0, 1-len(x.Next)))...) {
			next := ""
			if !tick.At.IsZero() {
				next = inZone(cfg.Schedules[i].WithDefaults(), tick.At)
			}
			t.add(name, project, source, rows, next, markText(tick), found)
			name, project, source, rows, found = " ", " ", " ", " ", " " // a row of the same schedule
		}
	}
	t.whole = true // a fault must be readable
	return p.show(t)
}
