package redisfault

import (
	"slices"
	"time"
)

// Fault is a row of the table: one reason why Redis refuses.
type Fault struct {
	Code    string // for programs; stable, in snake case: redis_out_of_memory
	Meaning string // what is wrong, as half a sentence: "Redis has no memory left"
	Advice  string // what the operator of Redis or detachd can do

	RetryAfter time.Duration // when to try again; never 0
	Passes     bool          // it may pass without a change of detachd's configuration or of the rights in Redis
	Rights     bool          // the cause is the Redis user, its password or its rights
	Redial     bool          // the address may lead to another server by now: dial again before the next attempt

	replies []string // first words of replies
	texts   []string // parts of replies without a word of their own
	client  []string // parts of errors of go-redis itself
}

// Away is the row of a Redis that does not answer at all.
const Away = "redis_away"

const (
	soon  = 5 * time.Second
	later = 30 * time.Second
	acted = time.Minute // somebody must act first
)

// table is searched from top to bottom.
var table = []Fault{
	{
		Code: "redis_out_of_memory", Meaning: "Redis has no memory left",
		Advice:     "raise maxmemory of Redis or shorten the retention, then run it again",
		RetryAfter: later, Passes: true, replies: []string{"OOM"},
	},
	{
		Code: "redis_cannot_persist", Meaning: "Redis cannot write to its disk and takes no writes until it can",
		Advice:     "check the log of Redis and the free space on its disk, then run it again",
		RetryAfter: later, Passes: true, replies: []string{"MISCONF"},
	},
	{
		Code: "redis_cluster_down", Meaning: "the Redis Cluster is incomplete: no node serves some of its slots",
		Advice:     "bring the nodes back (CLUSTER INFO says how many slots are served), then run it again",
		RetryAfter: soon, Passes: true, replies: []string{"CLUSTERDOWN", "TRYAGAIN"}, client: []string{"redis: cluster has no nodes"},
	},
	{
		Code: "redis_loading", Meaning: "Redis has started and is still loading its data",
		Advice:     "wait until it has loaded (INFO persistence says how far it is), then run it again",
		RetryAfter: soon, Passes: true, Redial: true, replies: []string{"LOADING"},
	},
	{
		Code: "redis_read_only", Meaning: "this Redis is a replica and takes no writes",
		Advice:     "point the configured URL at the primary or the Sentinels; after a failover detachd finds the primary by itself",
		RetryAfter: soon, Passes: true, Redial: true, replies: []string{"READONLY"},
	},
	{
		Code: "redis_primary_down", Meaning: "this Redis is a replica that has lost its primary and answers nothing",
		Advice:     "bring the primary back, or point the configured URL at the new one",
		RetryAfter: soon, Passes: true, Redial: true, replies: []string{"MASTERDOWN"},
	},
	{
		Code: "redis_too_few_replicas", Meaning: "Redis has fewer replicas than min-replicas-to-write and takes no writes",
		Advice:     "bring the replicas back, or lower min-replicas-to-write, then run it again",
		RetryAfter: soon, Passes: true, replies: []string{"NOREPLICAS"},
	},
	{
		Code: "redis_no_password", Meaning: "Redis requires a user and a password",
		Advice:     "put user and password into the configuration: redis.username and redis.password, or the URL",
		RetryAfter: acted, Rights: true, replies: []string{"NOAUTH"},
	},
	{
		Code: "redis_wrong_password", Meaning: "Redis refuses the configured user and password",
		Advice:     "check user and password of Redis in the configuration, and ACL LIST in Redis",
		RetryAfter: acted, Rights: true, replies: []string{"WRONGPASS"},
		// The reply of a Redis whose default user has no password.
		texts: []string{"ERR AUTH <password> called without any password configured"},
	},
	{
		Code: "redis_no_permission", Meaning: "the Redis user lacks a right",
		Advice:     "allow the Redis user the command or the keys that are named (ACL SETUSER; ACL LOG names what was refused)",
		RetryAfter: acted, Rights: true, replies: []string{"NOPERM"},
		// The replies of Redis 7 for a command within a script.
		texts: []string{"The user executing the script can't", "ACL failure in script"},
	},
	{
		Code: "redis_is_cluster", Meaning: "the node of the Redis Cluster that was asked does not serve all of the keys",
		Advice:     "run it again if the configured URL has redis+cluster://, as the Cluster moves slots then; else correct the URL",
		RetryAfter: acted, replies: []string{"MOVED", "ASK", "CROSSSLOT"},
	},
	{
		Code: "redis_is_no_cluster", Meaning: "this Redis is not a Cluster, but the configuration says that it is",
		Advice:     "use redis:// in the configured URL in place of redis+cluster://",
		RetryAfter: acted, texts: []string{"This instance has cluster support disabled"},
	},
	{
		Code: "redis_script_runs", Meaning: "Redis is busy with a script that takes too long",
		Advice:     "wait; if it lasts, find out what else uses this Redis (SCRIPT KILL ends a script that has written nothing)",
		RetryAfter: soon, Passes: true, replies: []string{"BUSY"},
	},
	{
		Code: "redis_too_many_clients", Meaning: "Redis has as many connections as maxclients allows",
		Advice:     "raise maxclients of Redis, or find out what opens so many connections (CLIENT LIST)",
		RetryAfter: later, Passes: true, texts: []string{"max number of clients reached", "max number of clients + cluster connections reached"},
	},
	{
		Code: "redis_no_primary", Meaning: "no Sentinel names a primary",
		Advice:     "check that the Sentinels run and know the master name at the end of the configured URL (SENTINEL MASTERS)",
		RetryAfter: soon, Passes: true, client: []string{"redis: all sentinels specified in configuration are unreachable"},
	},
	{
		Code: Away, Meaning: "Redis does not answer",
		Advice:     "check that Redis runs and that the configured URL is right; nothing that was accepted before is lost",
		RetryAfter: soon, Passes: true,
	},
}

// All returns a copy of the table.
func All() []Fault { return slices.Clone(table) }

// ByCode returns the row with a code; nil if there is none.
func ByCode(code string) *Fault {
	for i := range table {
		if table[i].Code == code {
			return &table[i]
		}
	}
	return nil
}
