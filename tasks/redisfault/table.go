package redisfault

import (
	"slices"
	"time"
)

// Fault is a row of the table: one way in which Redis refuses.
type Fault struct {
	Code    string // for programs; stable, in snake case: redis_out_of_memory
	Meaning string // what is the matter, as half a sentence: "Redis has no memory left"
	Advice  string // what whoever runs Redis or detachd does about it

	RetryAfter time.Duration // when it is worth to try again; never 0
	Passes     bool          // it may pass while nobody changes the configuration of detachd or the rights in Redis
	Rights     bool          // the cause is the user, the password or the rights that Redis was given
	Redial     bool          // another server may be at the address by now: dial again before the next try

	replies []string // first words of Redis' replies
	texts   []string // parts of replies that have no word of their own
	client  []string // parts of what go-redis says by itself
}

// Away is the row of a Redis that does not answer at all.
const Away = "redis_away"

const (
	soon  = 5 * time.Second
	later = 30 * time.Second
	acted = time.Minute // somebody has to do something first
)

// table has its rows in the order in which they are looked for.
var table = []Fault{
	{
		Code: "redis_out_of_memory", Meaning: "Redis has no memory left",
		Advice:     "raise maxmemory of Redis or shorten the retention, then run it again",
		RetryAfter: later, Passes: true, replies: []string{"OOM"},
	},
	{
		Code: "redis_cannot_persist", Meaning: "Redis cannot write to its disk and takes no writes until it can",
		Advice:     "look at Redis' log and at the space on its disk, then run it again",
		RetryAfter: later, Passes: true, replies: []string{"MISCONF"},
	},
	{
		Code: "redis_cluster_down", Meaning: "the Redis Cluster is incomplete: some of its slots are served by no node",
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
		Advice:     "point the configured URL at the primary, or at the Sentinels; after a failover it is found again by itself",
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
		Code: "redis_no_password", Meaning: "Redis wants a user and a password",
		Advice:     "put user and password into the configuration: redis.username and redis.password, or the URL",
		RetryAfter: acted, Rights: true, replies: []string{"NOAUTH"},
	},
	{
		Code: "redis_wrong_password", Meaning: "Redis does not take the configured user and password",
		Advice:     "check user and password of Redis in the configuration, and ACL LIST in Redis",
		RetryAfter: acted, Rights: true, replies: []string{"WRONGPASS"},
		// Redis refuses a password so where its default user has none.
		texts: []string{"ERR AUTH <password> called without any password configured"},
	},
	{
		Code: "redis_no_permission", Meaning: "the Redis user lacks a right",
		Advice:     "give the Redis user the command or the keys that are named (ACL SETUSER; ACL LOG names what was refused)",
		RetryAfter: acted, Rights: true, replies: []string{"NOPERM"},
		// How Redis 7 says it of a command within a script.
		texts: []string{"The user executing the script can't", "ACL failure in script"},
	},
	{
		Code: "redis_is_cluster", Meaning: "this Redis is one node of a Cluster and has not all of the keys",
		Advice:     "write redis+cluster:// in the configured URL; if it says so already, slots are being moved: run it again",
		RetryAfter: acted, replies: []string{"MOVED", "ASK", "CROSSSLOT"},
	},
	{
		Code: "redis_is_no_cluster", Meaning: "this Redis is not a Cluster, and the configuration says that it is one",
		Advice:     "write redis:// in the configured URL in place of redis+cluster://",
		RetryAfter: acted, texts: []string{"This instance has cluster support disabled"},
	},
	{
		Code: "redis_script_runs", Meaning: "Redis is busy with a script that takes too long",
		Advice:     "wait; if it does not end, find out what else uses this Redis (SCRIPT KILL ends what has written nothing)",
		RetryAfter: soon, Passes: true, replies: []string{"BUSY"},
	},
	{
		Code: "redis_too_many_clients", Meaning: "Redis has as many connections as maxclients allows",
		Advice:     "raise maxclients of Redis, or find out who keeps so many connections (CLIENT LIST)",
		RetryAfter: later, Passes: true, texts: []string{"max number of clients reached", "max number of clients + cluster connections reached"},
	},
	{
		Code: "redis_no_primary", Meaning: "no Sentinel names a primary",
		Advice:     "check that the Sentinels run and know the master's name that the configured URL ends with (SENTINEL MASTERS)",
		RetryAfter: soon, Passes: true, client: []string{"redis: all sentinels specified in configuration are unreachable"},
	},
	{
		Code: Away, Meaning: "Redis does not answer",
		Advice:     "check that Redis runs and that the configured URL is right (detachd doctor); nothing that was accepted before is lost",
		RetryAfter: soon, Passes: true,
	},
}

// All gives a copy of the table.
func All() []Fault { return slices.Clone(table) }

// ByCode gives the row with a code; nil if there is none.
func ByCode(code string) *Fault {
	for i := range table {
		if table[i].Code == code {
			return &table[i]
		}
	}
	return nil
}
