package record

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"
)

// scriptCall is one run of a Lua script in a pipeline. Without a script, args are a command.
type scriptCall struct {
	script *redis.Script
	keys   []string
	args   []any
	reads  bool // it writes nothing, so nothing of it has to reach replicas
	reply  *redis.Cmd
}

// queue puts the call into a pipeline; whole means with the script's text.
func (c *scriptCall) queue(ctx context.Context, p redis.Pipeliner, whole bool) {
	switch {
	case c.script == nil:
		c.reply = p.Do(ctx, c.args...)
	case whole:
		c.reply = c.script.Eval(ctx, p, c.keys, c.args...)
	default:
		c.reply = c.script.EvalSha(ctx, p, c.keys, c.args...)
	}
}

// key is one of the keys of the call, all of which have the same hash tag.
func (c *scriptCall) key() string {
	if c.script != nil {
		return c.keys[0]
	}
	key, _ := c.args[1].(string)
	return key
}

// runScripts sends scripts, and the caller's other commands, in one round trip. EVALSHA keeps
// it small; a script that Redis does not know (after a restart, a failover, at first use) did
// not run, so it is sent again with its text. An error of any script is returned.
func (r *Record) runScripts(ctx context.Context, calls []*scriptCall, also func(redis.Pipeliner)) error {
	return r.runScriptsOn(ctx, r.rdb, calls, also)
}

// runScriptsOn is runScripts on the given server.
func (r *Record) runScriptsOn(ctx context.Context, server redis.UniversalClient, calls []*scriptCall, also func(redis.Pipeliner)) error {
	send := func(calls []*scriptCall, whole bool, also func(redis.Pipeliner)) error {
		_, err := server.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range calls {
				c.queue(ctx, p, whole)
			}
			if also != nil {
				also(p)
			}
			return nil
		})
		return err
	}
	err := send(calls, false, also)
	if err == nil {
		return nil
	}
	var unknown []*scriptCall
	for _, c := range calls {
		switch cerr := c.reply.Err(); {
		case cerr == nil:
		case strings.HasPrefix(cerr.Error(), "NOSCRIPT"):
			unknown = append(unknown, c)
		default:
			return cerr
		}
	}
	if len(unknown) == 0 {
		return err
	}
	if err := send(unknown, true, nil); err != nil {
		return err
	}
	if strings.HasPrefix(err.Error(), "NOSCRIPT") {
		return nil // the first error of the pipeline was about a script that is known now
	}
	return err
}

// runScript is runScripts for one script.
func (r *Record) runScript(ctx context.Context, script *redis.Script, keys []string, args ...any) (any, error) {
	c := &scriptCall{script: script, keys: keys, args: args}
	if err := r.runScripts(ctx, []*scriptCall{c}, nil); err != nil {
		return nil, err
	}
	v, err := c.reply.Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return v, err
}

func decodeJSON(s string, v any) error { return json.Unmarshal([]byte(s), v) }

//go:embed lua
var luaFiles embed.FS

// script is lua/NAME.lua, which says what it does, after the functions of lua/lib that it
// uses. An unknown name ends the program, and any test, before it begins.
func script(name string, libs ...string) *redis.Script {
	var text strings.Builder
	for _, lib := range libs {
		text.WriteString(readLua("lib/" + lib))
	}
	text.WriteString(readLua(name))
	return redis.NewScript(text.String())
}

func readLua(name string) string {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err)
	}
	return string(b)
}
