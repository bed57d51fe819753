package cli

import (
	"bufio"
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/report"
	"github.com/detachd/detachd/tasks"
)

func (p *Program) auditCommand() *cobra.Command {
	var o struct {
		filter       tasks.AuditFilter
		since, until string
		page         pageFlags
		json         bool
	}
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List the audit log: who changed or downloaded what, when and why, the latest first",
		Long: `Lists keys made and revoked, sign-ins, pauses, submissions, cancels, retries, bulk
retries, dismissals, plans, downloads of personal data and changed guards. Each
entry was written before the action; one that failed has a second entry. Entries
are chained by hashes: detachd audit --json > FILE, then detachd verify FILE. They
are kept as long as operations.`,
		Example: "  detachd audit --since 24h\n  detachd audit --json > audit.json && detachd verify audit.json",
		Args:    noArguments,
		RunE: p.ask(func(cmd *cobra.Command, c *client, _ []string) error {
			var err error
			if o.filter.From, o.filter.To, err = p.period(o.since, o.until); err != nil {
				return err
			}
			read := func(size int, token string) ([]tasks.AuditEvent, string, error) {
				return c.Audit(cmd.Context(), o.filter, size, token)
			}
			log, err := pages(o.page.of(o.json), read)
			if err != nil {
				return err
			}
			if o.json {
				w := report.NewAuditWriter(p.Stdout)
				for _, e := range log.Items {
					if err := w.Write(e); err != nil {
						return err
					}
				}
				return w.Close(log.NextPageToken)
			}
			if len(log.Items) == 0 {
				p.note("no entry matches")
				return nil
			}
			if err := p.show(auditTable(log.Items)); err != nil {
				return err
			}
			sayMore(p, log, read)
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar((*string)(&o.filter.Action), "action", "", "only of this `action`, for example key.revoked")
	f.StringVar(&o.filter.By, "by", "", "only of this `person` (the owner of a key), or of the key with this id or name")
	f.StringVar(&o.filter.Target, "target", "", "only about the operation, key, project or session with this `id`")
	f.StringVar(&o.since, "since", "", "only at or after this `time`, for example 24h (ago) or 2026-11-23T00:00:00Z")
	f.StringVar(&o.until, "until", "", "only before this `time`")
	o.page.flags(f)
	p.outputFlag(f)
	f.BoolVar(&o.json, "json", false, "print JSON, which detachd verify verifies")
	return cmd
}

func auditTable(events []tasks.AuditEvent) *table {
	t := &table{header: []string{"SEQ", "AT", "ACTION", "BY", "KEY", "FROM", "PROJECT", "TARGET", "REASON", "DETAIL"},
		less: []string{"FROM", "KEY", "PROJECT", "REASON"}}
	for _, e := range events {
		seq := ""
		if e.Seq != 0 {
			seq = strconv.FormatInt(e.Seq, 10)
		}
		detail := e.Detail
		if e.Outcome == tasks.AuditFailed {
			detail = strings.TrimSpace("FAILED " + detail)
			if e.OfSeq != 0 {
				detail += " (entry " + strconv.FormatInt(e.OfSeq, 10) + ")"
			}
		}
		t.add(seq, clock(e.At), string(e.Action), cmp.Or(e.Owner, e.KeyName), e.KeyName, e.Address, e.Project, e.Target, e.Reason, detail)
	}
	return t
}

// verifyAudit verifies a file of the audit log.
func (p *Program) verifyAudit(ctx context.Context, in *bufio.Reader, hash string, compare bool) error {
	res, err := report.VerifyAudit(in, hash)
	if err != nil {
		return explainReport(err)
	}
	if hash != "" && res.HeadAt == 0 {
		return fail(exitFailed, "check that it is the hash of a log line \"audit\" of this Redis; if so, do not rely on the file",
			"no entry of the file has the hash %s", strings.ToLower(hash))
	}
	newer := 0
	if compare {
		if newer, err = p.compareAudit(ctx, res); err != nil {
			return err
		}
	}
	if res.Last == 0 {
		p.out("the file is an empty audit log")
		return nil
	}
	p.out("audit log, entries %d to %d: each has its hash and is chained to the one before", res.First, res.Last)
	p.out("hash of the last entry %s", res.Head)
	if res.HeadAt != 0 {
		p.out("entry %d has the given hash: nothing up to it was altered", res.HeadAt)
	}
	switch {
	case compare && newer == 0:
		p.out("it ends as the record does")
	case compare:
		p.out("the record continues with %s", plural(newer, "entry", "entries"))
	case res.HeadAt == 0:
		p.say("compare the hash with a log line \"audit\" (--head), or with the record (--record): " +
			"a chain that was computed again is not detected")
	}
	return nil
}

// compareAudit finds the last entry of a file in the record, and returns how many follow.
func (p *Program) compareAudit(ctx context.Context, res report.AuditResult) (newer int, err error) {
	c, err := p.connect("")
	if err != nil {
		return 0, err
	}
	defer c.close()
	for token := ""; ; {
		page, next, err := c.Audit(ctx, tasks.AuditFilter{}, 1000, token)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			switch {
			case e.Seq > res.Last:
				newer++
			case e.Seq == res.Last && e.Hash == res.Head:
				return newer, nil
			default:
				next = ""
			}
		}
		if token = next; token == "" && res.Last == 0 {
			return newer, nil
		}
		if token == "" {
			return 0, fail(exitFailed, "check that both are of the same Redis, and that the retention of the entry is not over; "+
				"if so, "+checkAccess, "the record does not have entry %d with the hash %s", res.Last, res.Head)
		}
	}
}
