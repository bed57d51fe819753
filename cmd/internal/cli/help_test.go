package cli

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// commands gives all commands that help shows.
func commands(cmd *cobra.Command) (out []*cobra.Command) {
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			out = append(append(out, sub), commands(sub)...)
		}
	}
	return out
}

func TestEveryCommandHasAGroupAndAnExample(t *testing.T) {
	t.Parallel()
	root := (&Program{LookupEnv: lookup(nil)}).root()
	for _, cmd := range append(commands(root), root) {
		require.NotEmpty(t, cmd.Example, cmd.CommandPath())
		shows := false
		for _, args := range ours(cmd.Example) {
			require.NoError(t, parses(args, true), "%s: %v", cmd.CommandPath(), args)
			used, _, err := root.Find(args)
			require.NoError(t, err)
			shows = shows || used == cmd || slices.Contains(commands(cmd), used)
		}
		require.True(t, shows, "no example is of %s", cmd.CommandPath())
		if cmd.Parent() == root {
			require.NotEmpty(t, cmd.GroupID, cmd.CommandPath())
		}
	}
	s := newStage(t)
	help := s.ok(t, "--help")
	require.NotContains(t, help, "Additional Commands")
	require.Contains(t, help, "docs/cli.md")
}

func TestMistypedNamesAreSuggested(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for want, args := range map[string]string{
		`unknown command "sart" for "detachd redrive": did you mean start?`:                    "redrive sart",
		`unknown command "strat" for "detachd redrive": did you mean start?`:                   "redrive strat --code X --since 1h",
		`unknown command "crate" for "detachd keys": did you mean create?`:                     "keys crate",
		"Did you mean this?\n  stats\n  status":                                                "stauts",
		"unknown flag: --projects: did you mean --project?":                                    "list --projects hq",
		"unknown flag: --fiel: did you mean --file?":                                           "detach --fiel x",
		"unknown flag: --clas: did you mean --class?":                                          "failures --clas held",
		"unknown flag: --idempotency: did you mean --idempotency-key?":                         "detach --idempotency k",
		"unknown flag: --nothing-like-it\n":                                                    "list --nothing-like-it",
		"OPERATION is missing: detachd status OPERATION [flags] (see detachd list)":            "status",
		"PROJECT is missing: detachd pause PROJECT [flags] (see detachd stats)":                "pause",
		"REDRIVE is missing: detachd redrive abort REDRIVE [flags] (see detachd redrive list)": "redrive abort",
		`detachd list takes no arguments, and "hq" was given`:                                  "list hq",
		`--limit "ten" is not a number`:                                                        "list --limit ten",
		`invalid argument "json" for "-o, --output" flag: use wide, or --json`:                 "list -o json",
	} {
		s.refused(t, exitUsage, want, strings.Fields(args)...)
	}
}

// completed gives the values that the shell is offered, and the directive.
func (s *stage) completed(t *testing.T, args ...string) (values []string, directive string) {
	t.Helper()
	r := s.run(t, append([]string{"__complete"}, args...)...)
	require.Equal(t, exitOK, r.code, r.err)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	return lines[:len(lines)-1], lines[len(lines)-1]
}

func TestCompletion(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.cloud.Fail(fakecloud.Refused("d2", "WKS.00010110", "no address"))
		s.worker(t)
		require.Equal(t, exitFailed, s.run(t, "detach", "d2", "--project", "hq", "--wait", "--ticket", "HR-1").code)
		id := s.operations(t)[0].ID
		s.ok(t, "redrive", "start", "--code", "WKS.00010110", "--project", "branch")
		s.ok(t, "cancel", "--ticket", "none", "--reason", "r", "--confirm", "0")
		cancellation := s.json(t, exitOK, "cancellation", "list")["items"].([]any)[0].(map[string]any)["id"].(string)
		redrive := s.json(t, exitOK, "redrive", "list")["items"].([]any)[0].(map[string]any)["id"].(string)
		s.ok(t, "schedule", "add", "nightly", "--project", "hq", "--cron", "@daily", "--user", "ann")
		const none, files = ":36", ":0" // only these values, in this order; names of files
		operation := id + "\thq, finished, 1 desktop, HR-1"
		for _, x := range []struct {
			args      string
			values    []string
			directive string
		}{
			{"status ", []string{operation}, none},
			{"report ", []string{operation}, none},
			{"failures --operation ", []string{operation}, none},
			{"dismiss " + id + " ", []string{"d2\tPC-d2, WKS.00010110"}, none},
			{"pause ", []string{"hq", "branch"}, none},
			{"list --project ", []string{"hq", "branch"}, none},
			{"schedule show ", []string{"nightly\thq, @daily UTC, user ann"}, none},
			{"schedule add x --users-are ", []string{"locked", "missing"}, none},
			{"schedule check ", nil, files},
			{"detach --unknown-users ", []string{"hold", "ignore"}, none},
			{"keys create --role ", []string{"viewer", "producer", "operator", "approver", "admin"}, none},
			{"report --format ", []string{"html", "csv", "json"}, none},
			{"audit --action key", []string{"key.created", "key.revoked"}, none},
			{"desktops x --state failed,he", []string{"failed,held"}, none},
			{"status x", nil, none},
			{"list -o ", []string{"wide"}, none},
			{"detach --file ", nil, files},
			{"verify ", nil, files},
			{"report x -o ", nil, files},
			{"status " + id + " ", nil, ":4"},
			{"list --ticket ", nil, ":4"},
		} {
			values, directive := s.completed(t, strings.Split(x.args, " ")...)
			require.Equal(t, x.directive, directive, x.args)
			require.ElementsMatch(t, x.values, values, x.args)
		}
		for args, want := range map[string]string{
			"desktops x --state ": "failed", "failures --class ": "held\t", "redrive start --code ": "WKS.00099999\tbeing moved",
			"redrive show ": redrive + "\t", "cancellation show ": cancellation + "\tended, ticket none",
		} {
			values, _ := s.completed(t, strings.Split(args, " ")...)
			require.Contains(t, strings.Join(values, "\n"), want, args)
		}
	})
}

// A shell that completes while nothing answers gets nothing, and no message.
func TestCompletionWithoutAnything(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.configure(t, "127.0.0.1:1", s.cloud.URL)
	s.env["DETACHD_API_KEY"] = "dk_x"
	for _, args := range [][]string{{"status", ""}, {"list", "--server", "http://nowhere.invalid", "--project", ""}, {"list", "--config", "/nowhere", "--project", ""}} {
		r := s.run(t, append([]string{"__complete"}, args...)...)
		require.Equal(t, exitOK, r.code, args)
		require.NotContains(t, r.out, "\t", args)
		require.Contains(t, r.err, "Completion ended", args) // cobra says so
		require.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
	}
}

// Nightly jobs mail what is said.
func TestQuiet(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.worker(t)
		name := s.file(t, "desktop_id,department\nd1,sales\n")
		loud := s.run(t, "detach", "--file", name, "--project", "hq")
		for _, want := range []string{"ignored columns", "follow it with", "idempotency key: detach-"} {
			require.Contains(t, loud.err, want)
		}
		r := s.run(t, "detach", "--file", name, "--project", "hq", "-q")
		require.Equal(t, exitOK, r.code, r.err)
		require.Empty(t, r.err)
		require.Contains(t, r.out, "accepted and queued")
		s.refused(t, exitUsage, "invalid row", "detach", "--file", s.file(t, "desktop_id\na b\n"), "--project", "hq", "-q", "--skip-invalid")
		s.refused(t, exitUsage, "nowhere", "status", "nowhere", "-q")
	})
}

// Each detach has an idempotency key, so that it can be repeated after any failure.
func TestDetachMakesAKey(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		keyOf := func(said string) string {
			_, rest, ok := strings.Cut(said, "idempotency key: ")
			require.True(t, ok, said)
			key, _, _ := strings.Cut(rest, "\n")
			return key
		}
		args := []string{"detach", "d1", "--project", "hq"}
		first, second := s.run(t, args...), s.run(t, args...)
		require.NotEqual(t, keyOf(first.err), keyOf(second.err))
		require.Len(t, s.operations(t), 2)
		require.NotContains(t, s.run(t, append(args, "--plan")...).err, "idempotency key")
		again := s.run(t, append(args, "--idempotency-key", keyOf(first.err))...)
		require.Equal(t, exitOK, again.code, again.err)
		require.Contains(t, again.out, "already recorded at ")
		require.NotContains(t, again.err, "idempotency key", "it is known")
		require.Len(t, s.operations(t), 2)
	})
}

// The answer to a request gets lost: the error names the key with which the command finds
// what it has recorded.
func TestDetachAfterALostAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(t)
	to, err := url.Parse(s.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == http.MethodPost {
			return errors.New("the connection breaks")
		}
		return nil
	}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	broken := httptest.NewServer(proxy)
	t.Cleanup(broken.Close)
	args := []string{"detach", "d1", "--project", "hq", "-q"}
	r := s.run(t, append(args, "--server", broken.URL)...)
	require.Equal(t, exitInternal, r.code, r.err)
	ops := s.operations(t)
	require.Len(t, ops, 1)
	key := regexp.MustCompile(`add --idempotency-key (detach-[a-z0-9]+)\n`).FindStringSubmatch(r.err)
	require.Len(t, key, 2, r.err)
	require.Contains(t, s.ok(t, append(args, "--idempotency-key", key[1])...), "operation "+ops[0].ID+": 1 desktop of project hq already recorded at ")
	require.Len(t, s.operations(t), 1)
}

func TestTablesHaveFiftyRows(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		ids := make([]string, 52)
		for i := range ids {
			ids[i] = fmt.Sprintf("d%d", i)
		}
		id := s.detached(t, ids...)
		const header = 1
		rows := func(r result) int { return strings.Count(r.out, "\n") - header }
		r := s.run(t, "desktops", id)
		require.Equal(t, 50, rows(r))
		require.Contains(t, r.err, "50 shown, 2 more: --limit 0 shows all")
		for _, all := range [][]string{{"--limit", "0"}, {"--limit", "52"}, {"--limit", "100"}} {
			r := s.run(t, append([]string{"desktops", id}, all...)...)
			require.Equal(t, 52, rows(r), all)
			require.Empty(t, r.err, all)
		}
		require.Len(t, s.json(t, exitOK, "desktops", id)["items"], 52, "a program would not miss the rest")
		v := s.json(t, exitOK, "desktops", id, "--limit", "50")
		require.Len(t, v["items"], 50)
		require.Len(t, s.json(t, exitOK, "desktops", id, "--page-token", v["next_page_token"].(string))["items"], 2)
	})
}
