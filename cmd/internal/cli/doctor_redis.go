package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/worker"
)

// checkRedis checks Redis, does there what a worker does, and checks the record.
func checkRedis(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	before := now()
	theirs, err := s.Redis.Time(ctx).Result()
	if err != nil {
		f := explain(err)
		// A missing permission is an ordinary finding.
		fs.refused = fs.refused || f.code == exitNotAuthorised && !strings.Contains(err.Error(), "NOPERM")
		fs.add("redis", bad, f.next, "%v", f)
		return
	}
	after := now()
	fs.add("redis", fine, "", "answers in %s", after.Sub(before).Round(100*time.Microsecond))
	middle := before.Add(after.Sub(before) / 2)
	fs.clocks("redis clock", "the clock of Redis", theirs.Sub(middle), after.Sub(before)/2,
		worker.MostSkew, "a worker on this machine takes no work")
	nodes, err := infoOfNodes(ctx, s.Redis)
	if err != nil {
		fs.add("redis info", warn, "let the Redis user run INFO", "INFO of Redis cannot be read: %v", err)
	}
	for _, n := range nodes {
		n.check(fs)
	}
	checkCoverage(ctx, s.Redis, fs)
	rehearse(ctx, s, fs)
	checkDurability(ctx, s.Redis, nodes, fs)
	checkRecord(ctx, s, now, fs)
}

// node is a Redis server and its INFO.
type node struct {
	name string // empty if there is only one
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
		fs.add(name("aof"), bad, "set appendonly yes", "append-only file is off: accepted operations are lost when Redis stops")
	default:
		fs.add(name("aof"), warn, "check that appendonly is yes", "Redis does not report whether its append-only file is on")
	}
	n.checkDisk(name("disk"), fs)
	switch role, replicas := n.info["role"], n.info["connected_slaves"]; {
	case role == "slave":
		fs.add(name("replicas"), bad, "point the configured URL at the primary", "this is a replica: nothing can be written")
	case role == "":
		fs.add(name("replicas"), warn, "check that there is a replica", "Redis does not report whether it has replicas")
	case replicas == "0":
		fs.add(name("replicas"), warn, "add a replica on another machine",
			"there is no replica: if the disk of this machine fails, the record is lost")
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
		fs.add(name, warn, "check that it is Redis 6.2 or later", "Redis does not report its version")
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
		fs.add(name, warn, "check that maxmemory-policy is noeviction", "Redis does not report its maxmemory-policy")
	case policy != "noeviction":
		fs.add(name, bad, "set maxmemory-policy noeviction", "maxmemory-policy is %s: Redis may delete parts of the record", policy)
	case most > 0 && used >= most:
		fs.add(name, bad, "raise maxmemory or shorten the retention", "maxmemory (%.0f MB) is exhausted: nothing is accepted", most/1e6)
	case most > 0 && used > 0.8*most:
		fs.add(name, warn, "raise maxmemory or shorten the retention",
			"%.0f %% of maxmemory is used, %.0f MB are left; when it is full, nothing is accepted", 100*used/most, (most-used)/1e6)
	case most > 0:
		fs.add(name, fine, "", "policy noeviction, %.0f MB used, %.0f MB left", used/1e6, (most-used)/1e6)
	default:
		fs.add(name, fine, "", "policy noeviction, %.0f MB used; the machine's memory is the limit", used/1e6)
	}
}

// checkDisk checks the last writes of Redis to its disk. If they fail, Redis usually
// refuses all writes (MISCONF); the rehearsal shows that.
func (n node) checkDisk(name string, fs *findings) {
	const next = "check the log of Redis and the space on its disk"
	switch {
	case n.info["aof_last_write_status"] == "err":
		fs.add(name, bad, next, "the append-only file cannot be written: accepted operations are lost when Redis stops")
	case n.info["rdb_last_bgsave_status"] == "err":
		fs.add(name, warn, next, "the last snapshot could not be written")
	case n.info["aof_last_bgrewrite_status"] == "err":
		fs.add(name, warn, next, "the last rewrite of the append-only file failed: the file keeps growing")
	case n.info["aof_last_write_status"] == "ok":
		fs.add(name, fine, "", "the last write succeeded")
	}
}

// clusterSlots is the number of slots of a Cluster.
const clusterSlots = "16384"

// checkCoverage checks that every slot of a Cluster has a node: by default a Cluster
// that misses one slot serves none.
func checkCoverage(ctx context.Context, rdb redis.UniversalClient, fs *findings) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return
	}
	const check = "redis cluster"
	text, err := cluster.ClusterInfo(ctx).Result()
	if err != nil {
		fs.add(check, warn, "let the Redis user run CLUSTER INFO",
			"CLUSTER INFO, which says whether all slots are served, cannot be read here: %v", err)
		return
	}
	info := parseInfo(text)
	if state, slots := info["cluster_state"], info["cluster_slots_ok"]; state != "ok" || slots != clusterSlots {
		fs.add(check, bad, "restart the nodes of the missing slots, or move these slots to other nodes",
			"cluster_state is %s; %s of %s slots are served", state, slots, clusterSlots)
		return
	}
	fs.add(check, fine, "", "all %s slots are served", clusterSlots)
}

// checkRecord checks workers, paused projects and unreadable tasks.
func checkRecord(ctx context.Context, s *app.Store, now func() time.Time, fs *findings) {
	if _, err := s.Record.Format(ctx); err != nil {
		fs.add("record format", bad, explain(err).next, "%v", err)
	}
	workers, err := s.Record.Workers(ctx)
	if err != nil {
		fs.add("workers", bad, "let the Redis user read and write the keys of detachd", "%v", err)
		return
	}
	checkWorkers(workers, fs)
	checkRepair(ctx, s, now, fs)
	for _, alias := range s.Projects {
		if pause, err := s.Record.ProjectPause(ctx, alias); err == nil && pause != nil {
			fs.paused(alias, *pause)
		}
	}
	for _, p := range s.Limits() {
		if b := p.Blackouts.At(now()); b != nil {
			fs.add("blackout "+p.Alias, fine, "", "%s: only urgent operations and undos are sent", b.Text())
		}
	}
	if rejects, err := s.Record.Rejects(ctx); err == nil && len(rejects) > 0 {
		last := rejects[0]
		fs.add("queue", warn, "find out what else writes to these queues; no operation loses anything",
			"%s could not be read, the latest in %s: %s", count(len(rejects), "task"), last.Queue, last.Reason)
	}
}

func checkWorkers(workers []tasks.Worker, fs *findings) {
	alive := 0
	for _, w := range workers {
		if w.Alive() {
			alive++
			continue
		}
		fs.add("worker "+w.ID, warn, "check its log; other workers continue its work",
			"no sign of life for %s", w.Silent.Round(time.Second))
	}
	if alive == 0 {
		next := "start one: detachd worker"
		if slices.ContainsFunc(fs.All, func(f finding) bool { return f.Check == claimsCheck && f.Level == bad }) {
			next = "correct Redis first: a worker that cannot write to it counts as gone"
		}
		fs.add("workers", warn, next, "none is running: nothing is sent")
		return
	}
	fs.add("workers", fine, "", "%d running", alive)
}

func (fs *findings) paused(alias string, pause tasks.Pause) {
	l := warn
	switch pause.Kind {
	case tasks.PauseAuth, tasks.PauseNoRight:
		l = bad
	case tasks.PauseThrottled:
		l = fine
	}
	fs.add("pause "+alias, l, endsPause(alias, pause), "%s", pauseText(pause))
}

// pauseText says of a pause what the table of stats has no room for.
func pauseText(pause tasks.Pause) string {
	if pause.Kind == tasks.PauseStop {
		return "all projects are stopped: " + pause.Reason
	}
	until := "until it is resumed"
	if !pause.Until.IsZero() {
		until = "until " + clock(pause.Until)
	}
	return fmt.Sprintf("paused %s (%s): %s", until, pause.Kind, pause.Reason)
}

// endsPause is what a person does about a pause; empty: nothing.
func endsPause(alias string, pause tasks.Pause) string {
	resume := "detachd resume " + alias
	switch pause.Kind {
	case tasks.PauseAuth:
		return "correct the credentials or permissions, then: " + resume
	case tasks.PauseNoRight:
		return "give the IAM user the permission, then: " + resume
	case tasks.PauseNotAPI:
		return "correct the endpoint or the proxy, then: " + resume
	case tasks.PauseStop:
		return "detachd resume --all --reason …"
	case tasks.PauseThrottled:
		return ""
	}
	return resume
}
