package record

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks/queue"
)

// keys names everything that the record keeps in Redis. All keys of an operation have the
// hash tag {operation id} and all keys of a project have {p:alias}, so each group is on one
// shard of a Redis Cluster and one script may touch it. No script touches two groups.
type keys struct{ prefix string }

// An operation's own keys.
func (k keys) op(id string) string   { return k.prefix + ":{" + id + "}:op" }   // HASH: the request, counts, times
func (k keys) open(id string) string { return k.prefix + ":{" + id + "}:open" } // HASH: chunk -> desktops with work left
func (k keys) unproven(id string) string { // HASH: chunk -> desktops accepted by the cloud and not confirmed yet
	return k.prefix + ":{" + id + "}:unproven"
}
func (k keys) trail(id string, n int) string { // LIST: JSON of the chunk's changes, see trail.Entry
	return k.prefix + ":{" + id + "}:t:" + strconv.Itoa(n)
}
func (k keys) calls(id string) string  { return k.prefix + ":{" + id + "}:calls" }  // HASH: call id -> JSON
func (k keys) errors(id string) string { return k.prefix + ":{" + id + "}:errors" } // HASH: desktop -> JSON of its last refusal
func (k keys) chunk(id string, n int) string { // HASH: desktop -> value, see codec.go
	return k.prefix + ":{" + id + "}:c:" + strconv.Itoa(n)
}

func (k keys) pageKey() string { return k.prefix + ":pagekey" } // STRING: 32 random bytes, see PageKey

func (k keys) probe() string { return k.prefix + ":probe" } // STRING: empty, see TryWrite

// Indexes over operations.
func (k keys) operations() string { return k.prefix + ":ops" } // ZSET: operation by acceptance time
func (k keys) operationsBy(what, value string) string { // ZSET: the same, of one project, requester or ticket
	// Hashed, because the value is free text.
	return k.prefix + ":ops:" + what + ":" + shortHash(value, 16)
}
func (k keys) openOps() string { return k.prefix + ":open" } // ZSET: operation that was begun or has work left, by acceptance time
// scheduled is a ZSET: operation by minus its start. An empty project means all projects.
// Operations that have started may still be in it.
func (k keys) scheduled(project string) string {
	if project == "" {
		return k.prefix + ":scheduled"
	}
	return k.prefix + ":scheduled:" + project
}

// waiting is a ZSET: operation that waits for an approval, by acceptance time. An empty
// project means all projects. Operations that were decided on may still be in it.
func (k keys) waiting(project string) string {
	if project == "" {
		return k.prefix + ":waiting"
	}
	return k.prefix + ":waiting:" + project
}
func (k keys) endedOps() string      { return k.prefix + ":ended" }    // ZSET: operation by end time, for expiry
func (k keys) failureGroups() string { return k.prefix + ":failures" } // SET: the groups below
func (k keys) failures(g failureGroup) string { // ZSET: operation/desktop in the inbox by time of failure
	return k.failureSets(g.project) + string(g.class) + groupSep + g.code
}
func (k keys) failuresBy(g failureGroup) string { // ZSET: the same by requester, see failures_by.go
	return k.failureSetsBy(g.project) + string(g.class) + groupSep + g.code
}
func (k keys) failureSets(alias string) string   { return k.prefix + ":{p:" + alias + "}:failures:" } // the prefixes of those keys
func (k keys) failureSetsBy(alias string) string { return k.prefix + ":{p:" + alias + "}:failures_by:" }
func (k keys) inbox(alias string) string { // HASH: desktop -> lines of inboxEntry
	return k.prefix + ":{p:" + alias + "}:inbox"
}
func (k keys) announced(alias string) string { // HASH: the same for desktops that are not in the inbox yet
	return k.prefix + ":{p:" + alias + "}:announced"
}
func (k keys) inboxes(alias string) []string { return []string{k.inbox(alias), k.announced(alias)} }

// Redrives and cancellations. Their own keys carry the hash tag {rd:id} or {cn:id}.
func (k keys) bulks(kind bulkKind) string { return k.prefix + ":" + kind.list } // ZSET: bulk by creation time
func (k keys) openBulks(kind bulkKind) string { // ZSET: bulks that may not have ended
	return k.prefix + ":" + kind.list + ":open"
}
func (k keys) bulk(kind bulkKind, id string) string { // HASH: see storedBulk
	return k.prefix + ":{" + kind.tag + ":" + id + "}"
}
func (k keys) bulkItems(kind bulkKind, id, writer string) string { // LIST: ms, operation/desktop; or cancelled, operation
	return k.bulk(kind, id) + ":i:" + writer
}
func (k keys) bulkTaken(kind bulkKind, id string) string { // HASH: operation:chunk -> positions that it retried, or was too late for
	return k.bulk(kind, id) + ":taken"
}

// plan is the HASH of a plan, see planMeta. Its tag is {pl:id}.
func (k keys) plan(id string) string { return k.prefix + ":{pl:" + id + "}" }

// review is the HASH of a review of access, see reviewMeta. Its tag is {ar:id}.
func (k keys) review(id string) string { return k.prefix + ":{ar:" + id + "}" }

// planned is the STRING with the id of the plan that an owner made and that has a hash.
func (k keys) planned(owner, hash string) string {
	return k.prefix + ":planned:" + shortHash(owner+"\x00"+hash, 16)
}

// The buckets of two indexes; see index. Every sixteenth bucket has the same hash tag.
func (k keys) history(bucket int) string { // by the id of the row
	return k.bucket("desktops", bucket)
}
func (k keys) named(bucket int) string { // by user and by computer
	return k.bucket("named", bucket)
}
func (k keys) bucket(of string, n int) string {
	return k.prefix + ":" + of + ":{i:" + strconv.Itoa(n%indexTags) + "}:" + strconv.Itoa(n)
}

// nameList is the ZSET of the starts of a list's blocks, and the HASH of the blocks.
func (k keys) nameList(x nameList) []string {
	blocks := k.prefix + ":{p:" + x.project + "}:names:" + strconv.FormatInt(x.week, 10)
	return []string{blocks + ":starts", blocks}
}
func (k keys) logged(id string) string { return k.prefix + ":{" + id + "}:indexed" } // STRING: see addLogged

// mark is a key in the slot of another key. It is written and removed at once; see durably.
func (k keys) mark(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		key, _, _ = strings.Cut(rest, "}")
	}
	return k.prefix + ":{" + key + "}:mark"
}

// shortHash is the first bytes of a text's SHA-256, in letters, digits, - and _.
func shortHash(text string, bytes int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:bytes])
}

// Workers and projects.
func (k keys) workers() string           { return k.prefix + ":workers" }        // ZSET: worker by its last heartbeat
func (k keys) runs(worker string) string { return k.prefix + ":runs:" + worker } // SET: chunks that it is working on
func (k keys) projects() string          { return k.prefix + ":projects" }       // SET: aliases that workers have ever served
func (k keys) serving() string           { return k.prefix + ":serving" }        // HASH: worker -> JSON of its aliases
func (k keys) gate(alias string) string  { return k.prefix + ":{p:" + alias + "}:gate" }
func (k keys) window(alias string) string { // ZSET: operation by its time of clearance, see Reserve
	return k.prefix + ":{p:" + alias + "}:window"
}
func (k keys) reserved(alias string) string { // HASH: desktops of the window in all, by source, by operation
	return k.prefix + ":{p:" + alias + "}:reserved"
}
func (k keys) stop() string { return k.prefix + ":stop" } // HASH: as gate, for all projects at once
func (k keys) protected() string { // HASH: name -> JSON of tasks.Protection
	return k.prefix + ":protected"
}

// Schedules. All keys have one hash tag, so that one script reads or changes a schedule.
func (k keys) schedules() string        { return k.prefix + ":{schedules}:defined" } // HASH: name -> JSON of tasks.Schedule
func (k keys) schedulesVersion() string { return k.prefix + ":{schedules}:version" } // STRING: changes when defined does
func (k keys) schedulesAsked() string   { return k.prefix + ":{schedules}:asked" }   // HASH: id of a run -> JSON of ScheduleAsk
func (k keys) schedulesConfigured() string { // SET: names in the configuration of workers
	return k.prefix + ":{schedules}:configured"
}
func (k keys) schedulesCounts() string { // HASH: result of runs, or missed -> count
	return k.prefix + ":{schedules}:counts"
}
func (k keys) schedulesPaused() string { return k.prefix + ":{schedules}:paused" } // SET: names
func (k keys) schedulesFailing() string { // SET: names whose last run failed, until they are resumed
	return k.prefix + ":{schedules}:failing"
}
func (k keys) schedule(name string) string { // HASH: see scheduleFields
	return k.prefix + ":{schedules}:state:" + name
}
func (k keys) scheduleLists(name string) string { // ZSET: SHA-256 of a list that ran, by the time when it was last seen
	return k.prefix + ":{schedules}:lists:" + name
}

func (k keys) recalls() string { // HASH: recall -> JSON of storedRecall; "" -> the latest one
	return k.prefix + ":recalls"
}
func (k keys) quotaUsed(key string) string    { return k.prefix + ":{q:" + key + "}:used" }    // HASH: minute -> desktops
func (k keys) quotaCounted(key string) string { return k.prefix + ":{q:" + key + "}:counted" } // ZSET: operation/desktops by time
func (k keys) claims(alias string) string { // SET: desktops in a call
	return k.prefix + ":{p:" + alias + "}:claims"
}
func (k keys) follow(alias string) string { // ZSET: operation:chunk with unconfirmed desktops, by the time of its next poll
	return k.prefix + ":{p:" + alias + "}:follow"
}
func (k keys) limit(credential string) string { // see LimitKey
	return k.prefix + ":{cred:" + credential + "}"
}
func (k keys) holders(alias string) string { // HASH: holder -> end of its lease and its desktops
	return k.prefix + ":{p:" + alias + "}:holders"
}

// Tallies; see scriptTally.
func (k keys) tallied(alias, by string) string { // STRING: the last batch that was added
	return k.prefix + ":{p:" + alias + "}:tallied:" + by
}

// tallies is a HASH: step and counter -> count. The period is minutes, results, quarters or
// days, see tallyPeriods.
func (k keys) tallies(alias, period string, n int64) string {
	return k.prefix + ":{p:" + alias + "}:" + period + ":" + strconv.FormatInt(n, 10)
}

// Queue names a queue of a project. Each project has its own queues, so that no project
// waits behind another, and three of them, so that an urgent leaver never waits behind a bulk.
// Small chunks have a queue of their own: a worker takes many of them to fill a call, but few
// full ones, so that workers share a bulk.
type Queue string

// The queues.
const (
	UrgentQueue Queue = "urgent"
	SmallQueue  Queue = "small"
	BulkQueue   Queue = "bulk"
)

// smallChunk is the largest number of desktops of a chunk in the small queue.
const smallChunk = 10

func (k keys) queue(alias string, q Queue) string {
	return queue.Name(k.prefix, alias, string(q))
}

func queueOf(op Operation, n int) Queue {
	switch size := op.chunkSize(n); {
	case op.Urgent:
		return UrgentQueue
	case size <= smallChunk:
		return SmallQueue
	}
	return BulkQueue
}

func (k keys) audit() string { return k.prefix + ":{audit}:log" } // ZSET: entry by its time, see decodeAudit
func (k keys) guards(part string) string { // HASH: guard or limit -> value at the last start
	return k.prefix + ":{audit}:guards:" + part
}

func (k keys) rejected() string { return k.prefix + ":rejected" } // LIST: JSON of Rejected
func (k keys) bell() string     { return k.prefix + ":bell" }     // STREAM: see Ring
func (k keys) format() string   { return k.prefix + ":format" }   // ZSET: one member, see FormatError
func (k keys) leader() string   { return k.prefix + ":leader" }   // STRING: the worker that sweeps
func (k keys) repair() string   { return k.prefix + ":repair" }   // HASH: see RepairReport
func (k keys) expiring() string { return k.prefix + ":expiring" } // STRING: present while a worker expires operations
