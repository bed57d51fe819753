package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
)

// bytesOf is B13: what the bytes of a desktop with a user are made of, once its operation has
// ended: MEMORY USAGE over all keys. A request names desktops, or desktops and the users to expect
// there, or users.
func bytesOf(e *env) (out []figure, err error) {
	const n = 10_000
	names, expect := make([]string, n), map[string][]string{}
	for i, id := range desktopIDs(0, n) {
		names[i] = fakecloud.Typical(i).Users[0].Name
		expect[id] = names[i : i+1]
	}
	for _, x := range []struct {
		what string
		req  tasks.Request
	}{
		{"desktops", tasks.Request{Desktops: desktopIDs(0, n)}},
		{"desktops and their users", tasks.Request{Desktops: desktopIDs(0, n), Expect: expect}},
		{"users", tasks.Request{Users: names}},
	} {
		parts, err := e.bytesOf(x.req, n)
		if err != nil {
			return nil, err
		}
		total := 0.0
		for _, bytes := range parts {
			total += bytes
		}
		out = append(out, figure{"B13 bytes a desktop, 10,000 named as " + x.what, fmt.Sprintf("%.0f B", total), "goal 400 B",
			total / 400, "<= 400", total <= 400})
		for _, part := range slices.SortedFunc(maps.Keys(parts), func(a, b string) int { return int(parts[b] - parts[a]) }) {
			if parts[part] >= 1 {
				out = append(out, figure{"B13 of these: " + part, fmt.Sprintf("%.0f B", parts[part]), "", parts[part] / total, "no goal", true})
			}
		}
	}
	return out, nil
}

// bytesOf runs an operation on n desktops and returns the bytes of each by the kind of their keys.
func (e *env) bytesOf(req tasks.Request, n int) (map[string]float64, error) {
	e.rdb.FlushAll(e.ctx)
	c, err := e.cloud(n, 0)
	if err != nil {
		return nil, err
	}
	defer c.end()
	p, err := e.producer()
	if err != nil {
		return nil, err
	}
	req.Project = alias
	op, err := p.Enqueue(e.ctx, req)
	if err != nil {
		return nil, err
	}
	stop, err := e.run(c)
	if err != nil {
		return nil, err
	}
	all, err := e.until(seldom, []string{op.ID}, record.Operation.Sealed)
	stop()
	if err == nil && all.Detached != n {
		err = fmt.Errorf("%d of %d desktops were detached", all.Detached, n)
	}
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for keys := e.rdb.Scan(e.ctx, 0, "*", 1000).Iterator(); ; {
		var batch []string
		for len(batch) < 500 && keys.Next(e.ctx) {
			batch = append(batch, keys.Val())
		}
		if len(batch) == 0 {
			return out, keys.Err()
		}
		used, err := e.rdb.Pipelined(e.ctx, func(p redis.Pipeliner) error {
			for _, key := range batch {
				p.MemoryUsage(e.ctx, key, 0) // 0: of all its elements
			}
			return nil
		})
		if err != nil && !errors.Is(err, redis.Nil) { // a key has expired since
			return nil, err
		}
		for i, key := range batch {
			out[partOf(key)] += float64(used[i].(*redis.IntCmd).Val()) / float64(n)
		}
	}
}

// partOf says what a key holds.
func partOf(key string) string {
	_, own, ofOperation := strings.Cut(key, "}:")
	switch kind, _, _ := strings.Cut(own, ":"); {
	case strings.HasPrefix(key, "asynq:"):
		return "asynq's queues"
	case strings.HasPrefix(key, record.DefaultPrefix+":desktops:"):
		return "index of desktops"
	case strings.HasPrefix(key, record.DefaultPrefix+":named:"):
		return "index of names"
	case kind == "names":
		return "names, for searches by prefix"
	case ofOperation && kind == "c":
		return "rows"
	case ofOperation && kind == "t":
		return "audit trail"
	case ofOperation && kind == "calls":
		return "calls"
	}
	return "everything else"
}
