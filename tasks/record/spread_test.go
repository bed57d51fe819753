package record_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// common are the keys that two projects write, and how often a hundred operations of one
// desktop write each at most. docs/scale.md has the same table, and what it costs.
var common = map[string]int{
	"detachd:ops":                 200, // at acceptance, and at the end in case that was lost
	"detachd:open":                200,
	"detachd:ended":               100,
	"detachd:ops:WHAT:HASH":       400, // of requester and ticket
	"detachd:desktops:{i:N}:N":    100,
	"detachd:{detachd:open}:mark": 200,
	"detachd:bell":                34, // once in 5 s for a project and a process
	"asynq:queues":                34, // once for a queue and a process
}

// A Cluster carries more than one node can: what 100 projects write is spread over its nodes,
// and no key that two projects write is unknown or gets more writes than it is known for.
func TestProjectsSpreadOverACluster(t *testing.T) {
	t.Parallel()
	set := redistest.StartSharded(t)
	rdb := set.Client()
	t.Cleanup(func() { _ = rdb.Close() })
	const projects, each = 100, 3
	aliases := make([]string, projects)
	for i := range aliases {
		aliases[i] = fmt.Sprint("project-", i)
	}
	p, err := record.NewProducer(rdb, record.ProducerConfig{Projects: aliases})
	require.NoError(t, err)
	m := monitorAll(t, set)
	by, nodes, all := map[string]map[string]int{}, map[string]int{}, 0
	for i, alias := range aliases {
		for k := range each {
			runs(t, p, tasks.Request{
				Project: alias, Desktops: []string{fmt.Sprintf("desktop-%d-%d", i, k)}, RequestedBy: "hr", Ticket: "HR-1",
			})
		}
		for _, w := range m.written(t) {
			if by[w.key] == nil {
				by[w.key] = map[string]int{}
			}
			by[w.key][alias]++
			nodes[w.node]++
			all++
		}
	}
	require.Len(t, nodes, 3)
	for addr, n := range nodes {
		share := float64(n) / float64(all)
		require.Greater(t, share, .22, "%s has its share of %v", addr, nodes)
		require.Less(t, share, .45, "%s has its share of %v", addr, nodes)
	}
	found := map[string]int{}
	for key, writes := range by {
		if len(writes) == 1 {
			continue
		}
		key = regexp.MustCompile(`^detachd:ops:(by|ticket):.*`).ReplaceAllString(key, "detachd:ops:WHAT:HASH")
		key = regexp.MustCompile(`[0-9]+`).ReplaceAllString(key, "N")
		for _, n := range writes {
			found[key] += n
		}
	}
	doc, err := os.ReadFile("../../docs/scale.md")
	require.NoError(t, err)
	for key, n := range found {
		require.Contains(t, common, key, "two projects write this key")
		require.LessOrEqual(t, n*100, common[key]*projects*each, "writes to %s", key)
	}
	for key := range common {
		require.Contains(t, found, key, "two projects write this key no longer")
		require.Contains(t, string(doc), "`"+key+"`", "the table of keys that all projects share")
	}
}

// runs takes an operation of one desktop from its acceptance to its end.
func runs(t *testing.T, p *record.Producer, req tasks.Request) {
	t.Helper()
	op, err := p.Enqueue(t.Context(), req)
	require.NoError(t, err)
	c, err := p.Record.Chunk(t.Context(), op.ID, 0)
	require.NoError(t, err)
	d := c.Desktops[0]
	for _, to := range []tasks.State{tasks.StateSending, tasks.StateDetached} {
		out, err := p.Record.Apply(t.Context(), op.AcceptedAt, []record.Change{{
			Operation: op, Moves: []record.Move{{Desktop: d, To: to, CallID: "call", Attempts: 1}},
		}})
		require.NoError(t, err)
		d = out[0].Desktops[0]
	}
	ended, err := p.Record.Finish(t.Context(), []string{op.ID})
	require.NoError(t, err)
	require.Len(t, ended, 1)
}

// write is a command that changed a key.
type write struct{ node, key string }

// monitors read what the primaries of a Cluster execute, in scripts too.
type monitors struct {
	nodes map[string]*bufio.Reader
	marks int
	write map[string]int // commands that write, by name: the position of their first key
}

func monitorAll(t *testing.T, set *redistest.Set) *monitors {
	t.Helper()
	m := &monitors{nodes: map[string]*bufio.Reader{}, write: map[string]int{}}
	primaries, err := set.Primaries(t.Context())
	require.NoError(t, err)
	require.Len(t, primaries, 3)
	for _, n := range primaries {
		conn, err := net.Dial("tcp", n.Addr())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = conn.Write([]byte("MONITOR\r\n"))
		require.NoError(t, err)
		m.nodes[n.Addr()] = bufio.NewReader(conn)
		ok, err := m.nodes[n.Addr()].ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", ok)
	}
	c := redis.NewClient(redistest.Options(primaries[0].Addr()))
	defer c.Close()
	commands, err := c.Command(t.Context()).Result()
	require.NoError(t, err)
	for name, info := range commands {
		if slices.Contains(info.Flags, "write") {
			m.write[name] = int(info.FirstKeyPos)
		}
	}
	return m
}

var quoted = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)

// written returns the writes since the last call.
func (m *monitors) written(t *testing.T) (out []write) {
	t.Helper()
	m.marks++
	mark := fmt.Sprint("mark-", m.marks)
	for addr, lines := range m.nodes {
		c := redis.NewClient(redistest.Options(addr))
		require.NoError(t, c.Echo(t.Context(), mark).Err())
		require.NoError(t, c.Close())
		for {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			args := quoted.FindAllStringSubmatch(line, -1)
			if len(args) == 2 && args[1][1] == mark {
				break
			}
			if at := m.write[strings.ToLower(args[0][1])]; at > 0 {
				out = append(out, write{addr, args[at][1]})
			}
		}
	}
	return out
}
