package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
)

// checkRedis looks at Redis and at what the record in it says.
func checkRedis(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	before := now()
	theirs, err := s.Redis.Time(ctx).Result()
	if err != nil {
		f := explain(err)
		fs.refused = fs.refused || f.code == exitNotAuthorised
		fs.add("redis", bad, f.next, "%v", f)
		return
	}
	after := now()
	fs.add("redis", fine, "", "answers in %s", after.Sub(before).Round(100*time.Microsecond))
	middle := before.Add(after.Sub(before) / 2)
	fs.clocks("redis clock", "Redis' clock", theirs.Sub(middle), after.Sub(before)/2)
	nodes, err := infoOfNodes(ctx, s.Redis)
	if err != nil {
		fs.add("redis info", warn, "let the Redis user run INFO", "what Redis says about itself cannot be read: %v", err)
	}
	for _, n := range nodes {
		n.check(fs)
	}
	checkDurability(ctx, s.Redis, nodes, fs)
	checkRecord(ctx, s, now, fs)
}

// node is a Redis server and its INFO.
type node struct {
	name string // empty when there is only one
	info map[string]string
}

func infoOfNodes(ctx context.Context, rdb redis.UniversalClient) ([]node, error) {
	read := func(ctx context.Context, name string, c redis.Cmdable) (node, error) {
		text, err := c.Info(ctx).Result()
		return node{name, parseInfo(text)}, err
	}
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		n, err := read(ctx, "", rdb)
		if err != nil {
			return nil, err
		}
		return []node{n}, nil
	}
	var mu sync.Mutex
	var all []node
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		n, err := read(ctx, c.Options().Addr, c)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, n)
		return nil
	})
	return all, err
}

func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info
}

func (n node) check(fs *findings) {
	name := func(what string) string { return strings.TrimSpace("redis " + what + " " + n.name) }
	n.checkVersion(name("version"), fs)
	n.checkMemory(name("memory"), fs)
	switch n.info["aof_enabled"] {
	case "1":
		fs.add(name("aof"), fine, "", "append-only file is on")
	case "0":
		fs.add(name("aof"), bad, "set appendonly yes", "append-only file is off: what was accepted is lost when Redis stops")
	default:
		fs.add(name("aof"), warn, "make sure that appendonly is yes", "Redis does not say whether its append-only file is on")
	}
	switch role, replicas := n.info["role"], n.info["connected_slaves"]; {
	case role == "slave":
		fs.add(name("replicas"), bad, "point the configured URL at the primary", "this is a replica: nothing can be written")
	case role == "":
		fs.add(name("replicas"), warn, "make sure that there is a replica", "Redis does not say whether it has replicas")
	case replicas == "0":
		fs.add(name("replicas"), warn, "add a replica on another machine", "there is no replica: the record is lost with this machine's disk")
	default:
		fs.add(name("replicas"), fine, "", "%s connected", replicas)
	}
}

func (n node) checkVersion(name string, fs *findings) {
	version := n.info["redis_version"]
	parts := strings.Split(version+".0", ".")
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	switch {
	case err1 != nil || err2 != nil:
		fs.add(name, warn, "make sure that it is Redis 6.2 or later", "Redis does not say its version")
	case major < 6 || major == 6 && minor < 2:
		fs.add(name, bad, "use Redis 6.2 or later", "%s is too old", version)
	default:
		fs.add(name, fine, "", "%s", version)
	}
}

func (n node) checkMemory(name string, fs *findings) {
	used, _ := strconv.ParseFloat(n.info["used_memory"], 64)
	most, _ := strconv.ParseFloat(n.info["maxmemory"], 64)
	switch policy := n.info["maxmemory_policy"]; {
	case policy == "":
		fs.add(name, warn, "make sure that maxmemory-policy is noeviction", "Redis does not say its maxmemory-policy")
	case policy != "noeviction":
		fs.add(name, bad, "set maxmemory-policy noeviction", "maxmemory-policy is %s: Redis may throw parts of the record away", policy)
	case most > 0 && used > 0.8*most:
		fs.add(name, warn, "raise maxmemory or shorten the retention", "%.0f %% of maxmemory is used; nothing is accepted when it is full", 100*used/most)
	default:
		fs.add(name, fine, "", "policy noeviction, %.0f MB used", used/1e6)
	}
}

// checkRecord looks at workers, paused projects and unreadable tasks.
func checkRecord(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	workers, err := s.Record.Workers(ctx)
	if err != nil {
		fs.add("workers", bad, "let the Redis user read and write the keys of detachd", "%v", err)
		return
	}
	checkWorkers(workers, fs)
	checkRepair(ctx, s, now, fs)
	for _, alias := range s.Projects {
		if pause, err := s.Record.ProjectPause(ctx, alias); err == nil && pause != nil {
			fs.pause(alias, *pause)
		}
	}
	if rejects, err := s.Record.Rejects(ctx); err == nil && len(rejects) > 0 {
		last := rejects[0]
		fs.add("queue", warn, "find out what else writes to these queues; nothing of an operation is lost by it",
			"%s could not be read, the last in %s: %s", count(len(rejects), "task"), last.Queue, last.Reason)
	}
}

func checkWorkers(workers []tasks.Worker, fs *findings) {
	alive := 0
	for _, w := range workers {
		if w.Silent < silentAfter {
			alive++
			continue
		}
		fs.add("worker "+w.ID, warn, "look at its log; its work is taken up by other workers",
			"has not been heard of for %s", w.Silent.Round(time.Second))
	}
	if alive == 0 {
		fs.add("workers", warn, "start one: detachd worker", "none is running: nothing is sent")
		return
	}
	fs.add("workers", fine, "", "%d running", alive)
}

func (fs *findings) pause(alias string, pause tasks.Pause) {
	check := "pause " + alias
	until := "until it is resumed"
	if !pause.Until.IsZero() {
		until = "until " + clock(pause.Until)
	}
	text := fmt.Sprintf("paused %s (%s): %s", until, pause.Kind, pause.Reason)
	switch pause.Kind {
	case tasks.BadAuth:
		fs.add(check, bad, "mend the credentials or permissions, then: detachd resume "+alias, "%s", text)
	case tasks.Throttled:
		fs.add(check, fine, "", "%s", text)
	default:
		fs.add(check, warn, "detachd resume "+alias, "%s", text)
	}
}
