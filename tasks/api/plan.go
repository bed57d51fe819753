package api

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// Plan is what a request would do if it ran now: who would lose access, what would be put on hold
// and why; or the progress of reading that.
type Plan struct {
	tasks.Plan
	// Items is a page of the rows when all are read, never null: first those that would be
	// held, then those that cannot be read, are sent, busy, being detached, looked up, and
	// need nothing.
	Items         []tasks.Planned `json:"items"`
	NextPageToken string          `json:"next_page_token,omitempty"` // empty: the end

	IgnoredColumns []string `json:"ignored_columns,omitempty"` // of a list, in the answer to it
}

// Plan reads the cloud, and changes nothing. If that takes at most two seconds, the plan is
// done, with up to 1,000 rows; else its state is tasks.PlanReading, to be polled with
// PlanByID, or tasks.PlanFailed.
func (c *Client) Plan(ctx context.Context, r OperationRequest) (Plan, error) {
	return call[Plan](ctx, c, request{method: "POST", path: "/v1/plans", body: r})
}

// PlanOperation is Plan for what is left of an operation that waits for an approval. Its hash
// approves exactly that; see ApproveRequest.
func (c *Client) PlanOperation(ctx context.Context, r PlanOfOperation) (Plan, error) {
	return call[Plan](ctx, c, request{method: "POST", path: "/v1/plans", body: r})
}

// PlanByID reads the progress of a plan and, when it is done, a page of its rows; size is 1
// to 1000 (0: 100). Reading continues for a minute after each request for the plan, which
// is deleted after an hour without one. Only the key that created it can read it.
func (c *Client) PlanByID(ctx context.Context, id string, size int, token string) (Plan, error) {
	q := url.Values{}
	if size > 0 {
		q.Set("page_size", strconv.Itoa(size))
	}
	set(q, "page_token", token)
	return call[Plan](ctx, c, request{method: "GET", path: "/v1/plans/" + segment(id), query: q})
}

// SummaryOf summarises finished plans in one sentence for people. The same person in two
// projects counts twice: those are two accounts.
func SummaryOf(plans ...tasks.Plan) string {
	var all tasks.Plan
	for _, p := range plans {
		all.Desktops += p.Desktops
		all.Users += p.Users
		all.Computers += p.Computers
		all.Found += p.Found
		all.People += p.People
		all.Groups += p.Groups
		all.Counts = append(all.Counts, p.Counts...)
	}
	var parts []string
	for _, say := range sayings {
		counts, sum := map[string]int{}, 0
		for _, c := range all.Counts {
			if c.Does == say.does && (say.of == "" || say.of == c.Of) && !(say.of == "" && say.does == "done" && c.Of == "users") {
				counts[c.Of] += c.Count
				sum += c.Count
			}
		}
		if sum == 0 {
			continue
		}
		subject := amount(sum)
		if all.Users+all.Computers > 0 {
			subject = counted(counts["desktops"], counts["users"], counts["computers"])
		}
		verb := say.many
		if sum == 1 {
			verb = say.one
		}
		parts = append(parts, subject+" "+verb+say.more(all))
	}
	return "Of " + counted(all.Desktops, all.Users, all.Computers) + ", " + listed(parts) + "."
}

// saying is the text for the rows with an action.
type saying struct {
	does, of  string // of "": the remaining rows
	one, many string
	more      func(tasks.Plan) string
}

var sayings = []saying{
	{"find", "", "leads", "lead", leadTo},
	{"send", "", "will be detached", "will be detached", takenFrom},
	{"hold", "", "will be put on hold", "will be put on hold", codesOf("hold")},
	{"fail", "", "cannot be read and will fail", "cannot be read and will fail", codesOf("fail")},
	{"later", "", "is busy and will be tried later", "are busy and will be tried later", codesOf("later")},
	{"follow", "", "is being detached already", "are being detached already", nothing},
	{"done", "users", "has no desktop", "have no desktop", nothing},
	{"done", "", "needs nothing", "need nothing", nothing},
}

func nothing(tasks.Plan) string { return "" }

func leadTo(p tasks.Plan) string {
	if p.Desktops > 0 {
		return " to " + amount(p.Found, "more desktop")
	}
	return " to " + amount(p.Found, "desktop")
}

func takenFrom(p tasks.Plan) string {
	var from []string
	if p.People == 1 {
		from = append(from, "1 person")
	} else if p.People > 0 {
		from = append(from, amount(p.People)+" people")
	}
	if p.Groups > 0 {
		from = append(from, amount(p.Groups, "group"))
	}
	if len(from) == 0 {
		return ""
	}
	return " from " + strings.Join(from, " and ")
}

// codesOf lists the codes of rows, the most frequent first.
func codesOf(does string) func(tasks.Plan) string {
	return func(p tasks.Plan) string {
		counts, codes := map[string]int{}, []string{}
		for _, c := range p.Counts {
			if c.Does == does && c.Code != "" {
				if counts[c.Code] == 0 {
					codes = append(codes, c.Code)
				}
				counts[c.Code] += c.Count
			}
		}
		if len(codes) == 0 {
			return ""
		}
		slices.SortStableFunc(codes, func(a, b string) int { return counts[b] - counts[a] })
		for i, code := range codes {
			codes[i] = code + " " + amount(counts[code])
		}
		return " (" + strings.Join(codes, ", ") + ")"
	}
}

// counted lists the counts that are not 0, for people.
func counted(desktops, users, computers int) string {
	var parts []string
	for _, x := range []struct {
		n    int
		what string
	}{{desktops, "desktop"}, {users, "user"}, {computers, "computer"}} {
		if x.n > 0 {
			parts = append(parts, amount(x.n, x.what))
		}
	}
	return listed(parts)
}

func listed(parts []string) string {
	if n := len(parts); n > 2 {
		return strings.Join(parts[:n-1], ", ") + ", and " + parts[n-1]
	}
	return strings.Join(parts, " and ")
}

// amount is a number with commas, and its unit.
func amount(n int, what ...string) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if len(what) > 0 {
		s += " " + what[0]
		if n != 1 {
			s += "s"
		}
	}
	return s
}
