package cli

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// levels runs doctor --json and gives the level of each check.
func (s *stage) levels(t *testing.T, code int, flags ...string) map[string]string {
	t.Helper()
	v := s.json(t, code, append([]string{"doctor"}, flags...)...)
	out := map[string]string{}
	for _, f := range v["findings"].([]any) {
		f := f.(map[string]any)
		out[f["check"].(string)] = f["level"].(string)
		if f["level"] != "ok" {
			require.NotEmpty(t, f["next"], "%v says what to do", f)
		}
	}
	require.Equal(t, code == exitOK, v["ok"])
	return out
}

func TestDoctorOnARedisThatSaysLittle(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.configure(t, miniredis.RunT(t).Addr(), s.cloud.URL)
	require.Equal(t, map[string]string{
		"redis": "ok", "redis clock": "ok", "redis version": "warn", "redis memory": "warn", "redis aof": "warn", "redis replicas": "warn",
		"redis claims": "ok", "redis limits": "ok", "redis bell": "ok", "redis queue": "ok", "redis channel": "ok", "redis clean-up": "ok", "redis wait": "warn",
		"workers": "warn", "record": "ok", "project hq": "ok", "project hq clock": "ok", "project branch": "ok", "project branch clock": "ok",
		"project hq users": "ok", "project branch users": "ok", "limit main": "ok",
	}, s.levels(t, exitOK))
	text := s.ok(t, "doctor")
	require.Contains(t, text, "start one: detachd worker")
	require.Regexp(t, `limit main +no limit of calls\n`, text)

	config, err := os.ReadFile(s.config)
	require.NoError(t, err)
	limited := strings.ReplaceAll(string(config), "calls_per_minute: 0, reads_per_minute: 0", "calls_per_minute: 50, reads_per_minute: 200")
	require.NoError(t, os.WriteFile(s.config, []byte(limited), 0o600))
	minute := time.Now().Truncate(time.Minute)
	tally := func(project string, calls, throttled int) record.MinuteTally {
		return record.MinuteTally{Project: project, Minute: minute, Tally: record.Tally{Tally: tasks.Tally{Calls: calls, Throttled: throttled}}}
	}
	require.NoError(t, s.store(t).Record.AddTallies(t.Context(), "w", "1", []record.MinuteTally{tally("hq", 7, 0), tally("branch", 3, 0)}))
	require.Regexp(t, `ok +limit main +50 calls a minute \([1-9]\d* % in use\), 200 other requests\n`, s.ok(t, "doctor"))
	require.NoError(t, s.store(t).Record.AddTallies(t.Context(), "w", "2", []record.MinuteTally{tally("hq", 2, 2)}))
	require.Regexp(t, `warn +limit main .*; the cloud throttled 2 calls in the last hour\n`, s.ok(t, "doctor"))
}

func TestDoctorOnARealRedis(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	s := newStage(t)
	rdb := srv.Client(t)
	require.NoError(t, rdb.ConfigSet(t.Context(), "requirepass", redisPassword).Err())
	s.configure(t, srv.Addr(), s.cloud.URL)
	s.worker(t)
	levels := s.levels(t, exitOK)
	for check, want := range map[string]string{
		"redis version": "ok", "redis memory": "ok", "redis aof": "ok", "redis replicas": "warn", "workers": "ok",
	} {
		require.Equal(t, want, levels[check], check)
	}
	require.NoError(t, s.store(t).Redis.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err())
	require.NoError(t, s.store(t).Redis.ConfigSet(t.Context(), "appendonly", "no").Err())
	levels = s.levels(t, exitFailed)
	require.Equal(t, "bad", levels["redis memory"])
	require.Equal(t, "bad", levels["redis aof"])
}

func TestDoctorCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault fakecloud.Fault
		code  int
	}{
		"refused":      {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 401}, exitNotAuthorised},
		"not allowed":  {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 403, Code: "APIGW.0302"}, exitNotAuthorised},
		"not found":    {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 404, Code: "APIGW.0101"}, exitFailed},
		"out of order": {fakecloud.Fault{Op: fakecloud.OpDetail, Status: 500}, exitFailed},
		"no reply":     {fakecloud.Fault{Op: fakecloud.OpDetail, Effect: fakecloud.DropBefore}, exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.cloud.Fail(c.fault)
			require.Equal(t, "bad", s.levels(t, c.code)["project hq"])
		})
	}
}

// Users named by lists would be held, and the rest works.
func TestDoctorUsersThatCannotBeListed(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cloud.Fail(fakecloud.Fault{Op: fakecloud.OpUsers, Project: hqID, Status: 403})
	levels := s.levels(t, exitOK)
	require.Equal(t, "warn", levels["project hq users"])
	require.Equal(t, "ok", levels["project branch users"])
	require.Contains(t, s.ok(t, "doctor"), "workspace:users:list")
	require.Equal(t, 4, s.cloud.CallsOf(fakecloud.OpUsers, ""), "once a project")
}

// A missing right is found before the first leaver, and only when asked for.
func TestDoctorProbesTheRightToDetach(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	var err error
	s.cloud, err = fakecloud.Serve(fakecloud.Config{Token: cloudToken}, "127.0.0.1:0") // one that makes nothing up
	require.NoError(t, err)
	t.Cleanup(s.cloud.Close)
	s.configure(t, s.redis.Addr(), s.cloud.URL)
	s.cloud.Add(hqID, fakecloud.Desktop{ID: "d1"})
	require.NotContains(t, s.levels(t, exitOK), "project hq detach")
	require.Zero(t, s.cloud.Calls(), "a doctor that is not asked to sends no detach call")

	levels := s.levels(t, exitOK, "--probe")
	require.Equal(t, "ok", levels["project hq detach"])
	require.Equal(t, "ok", levels["project branch detach"])
	require.Equal(t, 2, s.cloud.Calls())
	for _, q := range s.cloud.Requests() {
		if q.Op == fakecloud.OpDetach {
			require.Equal(t, []string{"00000000-0000-0000-0000-000000000000"}, q.DesktopIDs)
			require.False(t, q.Effect)
		}
	}
	require.Empty(t, s.cloud.Removals(hqID))

	s.cloud.Fail(fakecloud.Fault{Project: hqID, Status: 403, Code: "WKS.00081102"})
	levels = s.levels(t, exitNotAuthorised, "--probe")
	require.Equal(t, "bad", levels["project hq detach"])
	require.Equal(t, "ok", levels["project branch detach"])
	text := s.run(t, "doctor", "--probe").out
	require.Contains(t, text, "may not detach desktops of project hq")
	require.Contains(t, text, "workspace:desktops:detach")

	s.cloud.ClearFaults()
	s.cloud.Fail(fakecloud.Unavailable(0))
	require.Equal(t, "warn", s.levels(t, exitOK, "--probe")["project hq detach"], "nothing is told by an outage")
	require.Contains(t, s.ok(t, "doctor", "--help"), "was not tried")
}

func TestDoctorOnAServerDoesNotProbe(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.serve(t)
	s.refused(t, exitUsage, "--probe does not work with a server", "doctor", "--probe")
}

func TestDoctorNamesTheHostThatIsNotTheAPI(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	f := fakecloud.ProxyLogin(0)
	f.Op = fakecloud.OpDetail
	s.cloud.Fail(f)
	r := s.run(t, "doctor")
	require.Equal(t, exitFailed, r.code, "it is not the credentials")
	require.Contains(t, r.out, "check endpoint and proxy")
	require.Contains(t, r.out, strings.TrimPrefix(s.cloud.URL, "http://")+" must let requests through")
}

func TestDoctorRedisAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.redis.Stop()
	levels := s.levels(t, exitFailed)
	require.Equal(t, "bad", levels["redis"])
	require.Equal(t, "ok", levels["project hq"], "the rest is looked at all the same")
}

// What nothing is known of is not explained by running doctor, which is running.
func TestDoctorDoesNotSendToItself(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	text, err := os.ReadFile(s.config)
	require.NoError(t, err)
	changed := strings.ReplaceAll(string(text), s.redis.URL(), "redis://"+s.redis.Addr()+"/99")
	require.NotEqual(t, string(text), changed)
	require.NoError(t, os.WriteFile(s.config, []byte(changed), 0o600))
	got := s.run(t, "doctor")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.out, "ERR DB index is out of range")
	require.Contains(t, got.out, "compare the message with the configuration (redis)")
	require.NotContains(t, got.out, "run detachd doctor")
}

func TestDoctorRedisRefuses(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.changePassword(t)
	require.Equal(t, "bad", s.levels(t, exitNotAuthorised)["redis"])
}

func TestDoctorPausesWorkersAndUnreadableTasks(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	rec := s.store(t).Record
	require.NoError(t, rec.PauseProject(t.Context(), "hq", tasks.PauseAuth, 0, "401"))
	require.NoError(t, rec.PauseProject(t.Context(), "branch", tasks.PauseOperator, 0, "maintenance"))
	require.NoError(t, rec.Reject(t.Context(), record.Rejected{Queue: "q", Reason: "no JSON", Payload: "\x1b"}))
	levels := s.levels(t, exitFailed)
	require.Equal(t, "bad", levels["pause hq"])
	require.Equal(t, "warn", levels["pause branch"])
	require.Equal(t, "warn", levels["queue"])
}

func TestDoctorHasALineForAMessage(t *testing.T) {
	t.Parallel()
	var fs findings
	fs.add("project hq", bad, "", "%v", errors.Join(errors.New("no access key"), errors.New("no secret key")))
	require.Equal(t, "no access key; no secret key", fs.All[0].Message)
}

// A pause that only a person ends is bad, and what to do fits its cause.
func TestDoctorSaysWhatEndsAPause(t *testing.T) {
	t.Parallel()
	resume := "detachd resume hq"
	for kind, want := range map[tasks.PauseKind]finding{
		tasks.PauseAuth:      {Level: bad, Next: "correct the credentials or permissions, then: " + resume},
		tasks.PauseNoRight:   {Level: bad, Next: "give the IAM user the permission, then: " + resume},
		tasks.PauseNotAPI:    {Level: warn, Next: "correct the endpoint or the proxy, then: " + resume},
		tasks.PauseOperator:  {Level: warn, Next: resume},
		tasks.PauseStop:      {Level: warn, Next: "detachd resume --all --reason …"},
		tasks.PauseThrottled: {Level: fine},
	} {
		var fs findings
		fs.paused("hq", tasks.Pause{Kind: kind, Reason: "why"})
		want.Check, want.Message = "pause hq", fs.All[0].Message
		require.Equal(t, []finding{want}, fs.All)
		require.Contains(t, want.Message, "why")
	}
}

func TestDoctorWorkersThatFellSilent(t *testing.T) {
	t.Parallel()
	var fs findings
	checkWorkers([]tasks.Worker{{ID: "a", Silent: time.Second}, {ID: "b", Silent: time.Hour}}, &fs)
	require.Equal(t, []finding{
		{"worker b", warn, "no sign of life for 1h0m0s", "check its log; other workers continue its work"},
		{"workers", fine, "1 running", ""},
	}, fs.All)
	fs = findings{}
	fs.add(claimsCheck, bad, "", "Redis has no memory left")
	checkWorkers(nil, &fs)
	require.Equal(t, finding{"workers", warn, "none is running: nothing is sent", "correct Redis first: a worker that cannot write to it counts as gone"}, fs.All[1])
}

func TestDoctorClocks(t *testing.T) {
	t.Parallel()
	for skew, want := range map[time.Duration]level{
		0: fine, time.Second: fine, -1900 * time.Millisecond: fine, 4 * time.Second: warn, -4 * time.Minute: warn, 6 * time.Minute: bad, -time.Hour: bad,
	} {
		fs := findings{OK: true}
		fs.clocks("c", "it", skew, 10*time.Millisecond, 5*time.Minute, "nothing works")
		require.Equal(t, want, fs.All[0].Level, skew)
		require.Equal(t, want == bad, strings.Contains(fs.All[0].Message, "nothing works"))
		require.Equal(t, want != bad, fs.OK)
	}
}

func TestDoctorNode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"redis_version:6.0.16":              "6.0.16 is too old",
		"redis_version:7.2.1":               "7.2.1",
		"role:slave":                        "this is a replica",
		"role:master\r\nconnected_slaves:2": "2 connected",
		"maxmemory_policy:noeviction\nused_memory:90\nmaxmemory:100":           "90 % of maxmemory",
		"maxmemory_policy:noeviction\nused_memory:100\nmaxmemory:100":          "is exhausted",
		"maxmemory_policy:noeviction\nused_memory:1000000\nmaxmemory:10000000": "1 MB used, 9 MB left",
		"aof_last_write_status:err\nrdb_last_bgsave_status:ok":                 "the append-only file cannot be written",
		"aof_last_write_status:ok\nrdb_last_bgsave_status:err":                 "the last snapshot could not be written",
		"aof_last_write_status:ok\naof_last_bgrewrite_status:err":              "the last rewrite of the append-only file failed",
		"aof_last_write_status:ok\nrdb_last_bgsave_status:ok":                  "the last write succeeded",
	} {
		var fs findings
		node{info: parseInfo(text)}.check(&fs)
		var all strings.Builder
		for _, f := range fs.All {
			all.WriteString(f.Message + "\n")
		}
		require.Contains(t, all.String(), want)
	}
}

// An earlier program does not touch the record of a newer one.
func TestTheRecordOfANewerProgram(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.ok(t, "keys", "create", "--name", "hr", "--role", "admin")
	require.NoError(t, s.keys.ZAdd(t.Context(), "detachd:format", redis.Z{Score: 99, Member: "format"}).Err())
	dump := func() map[string]string {
		out := map[string]string{}
		for _, key := range s.keysLike(t, "*") {
			var err error
			out[key], err = s.keys.Dump(t.Context(), key).Result()
			require.NoError(t, err)
		}
		return out
	}
	before := dump()
	for _, args := range [][]string{{"worker"}, {"worker", "--listen", "127.0.0.1:0"}, {"serve", "--listen", "127.0.0.1:0"}} {
		s.refused(t, exitUsage, "the record in Redis has format 99, and this program reads formats up to 2; nothing was changed", args...)
	}
	require.Equal(t, before, dump())
	require.Equal(t, "bad", s.levels(t, exitFailed)["record format"])
}
