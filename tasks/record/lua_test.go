package record

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks/queue"
)

var (
	luaParam = regexp.MustCompile(`^-- (KEYS|ARGV)\[(\d+)(…?)\] +(\w+)(,? .+)$`)
	luaNamed = regexp.MustCompile(`^local ([\w, ]+) = (.+)$`)
	luaPlace = regexp.MustCompile(`(KEYS|ARGV)\[(\d+)\]`)
	luaRest  = regexp.MustCompile(`unpack\((KEYS|ARGV), (\d+)\)`)
	luaFirst = regexp.MustCompile(`^first_\w+$`)
	luaKey   = regexp.MustCompile(`\w+:[{\w][^ ,]*`)
	luaCalls = regexp.MustCompile(`script\("(\w+)"((?:, "\w+")*)\)`)
)

// luaKeys are keys as keys.go makes them, which the headers of scripts may show.
func luaKeys() map[string]bool {
	const op, writer = "d4k2m0h5tq3s7g8p9v20", "d4k2m0h5tq3s7g8p9v30"
	k := keys{"detachd"}
	out := map[string]bool{}
	for _, key := range append([]string{
		k.op(op), k.open(op), k.unproven(op), k.trail(op, 0), k.calls(op), k.errors(op), k.chunk(op, 0), k.logged(op),
		k.operations(), k.openOps(), k.workers(), k.plan(op), k.audit(), k.recalls(), k.protected(), k.history(39),
		k.schedules(), k.schedulesVersion(), k.schedulesAsked(), k.schedulesConfigured(), k.schedulesPaused(), k.schedulesFailing(), k.schedulesCounts(),
		k.schedule("nightly"), k.scheduleLists("nightly"),
		k.bulk(redriveKind, op), k.bulkItems(redriveKind, op, writer), k.bulkTaken(redriveKind, op),
		k.window("hq"), k.reserved("hq"), k.quotaUsed("hr"), k.quotaCounted("hr"), k.gate("hq"), k.claims("hq"), k.holders("hq"), k.follow("hq"), k.inbox("hq"), k.announced("hq"), k.failureSets("hq"), k.failureSetsBy("hq"),
		k.tallied("hq", "worker-1"), k.tallies("hq", "minutes", 492324), k.tallies("hq", "results", 9846480),
		k.tallies("hq", "quarters", 492324), k.tallies("hq", "days", 82054),
	}, slices.Concat(k.nameList(nameList{"hq", 2949}), queue.KeysOf(k.queue("hq", BulkQueue)).Waiting())...) {
		out[key] = true
	}
	return out
}

// Every script says what its arguments are, and calls them by these names only.
func TestLuaHeaders(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(luaFiles, "lua/*.lua")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(path.Base(file), func(t *testing.T) {
			t.Parallel()
			for _, problem := range luaProblems(readLua(strings.TrimSuffix(strings.TrimPrefix(file, "lua/"), ".lua"))) {
				t.Error(problem)
			}
		})
	}
}

// luaProblems says where a script breaks the rules: a header with a sentence, KEYS with
// a real key each, ARGV and Returns; each of these named by a local of the same name;
// numbers nowhere else.
func luaProblems(text string) (out []string) {
	header, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(header, "\n")
	if !regexp.MustCompile(`^-- [A-Z][a-z]+ `).MatchString(lines[0]) {
		out = append(out, "it does not begin with what it does")
	}
	names, more, last := map[string]string{}, map[string]bool{}, map[string]int{}
	section, known := "", luaKeys()
	for _, line := range lines {
		if !strings.HasPrefix(line, "--") {
			out = append(out, "the header ends without an empty line: "+line)
		}
		p := luaParam.FindStringSubmatch(line)
		if p == nil {
			if !strings.HasPrefix(line, "--   ") {
				section = ""
			}
		} else {
			section = p[1]
			last[section]++
			if n := strconv.Itoa(last[section]); p[2] != n || more[section] {
				out = append(out, "after the others there is no place for this: "+line)
			}
			more[section] = p[3] != ""
			names[section+" "+p[2]+p[3]] = p[4]
		}
		if section == "KEYS" && !strings.HasSuffix(line, ":") && !known[luaKey.FindString(line)] {
			out = append(out, "no key is like this: "+line)
		}
	}
	for _, section := range []string{"KEYS", "ARGV"} {
		if last[section] == 0 && !strings.Contains(header, "-- "+section+" none\n") {
			out = append(out, "the header does not say "+section)
		}
	}
	if !strings.Contains(header, "\n-- Returns ") {
		out = append(out, "the header does not say what it returns")
	}
	for line := range strings.SplitSeq(body, "\n") {
		problem, named := luaNames(line, names)
		if problem {
			out = append(out, "only a local that is called as in the header may say a place: "+line)
		}
		for _, place := range named {
			delete(names, place)
		}
	}
	maps.DeleteFunc(names, func(place, _ string) bool { return place == "ARGV 1…" || place == "KEYS 1…" }) // a loop over all
	for place, name := range names {
		out = append(out, "no local names "+place+", "+name)
	}
	return out
}

// luaNames gives the places in KEYS and ARGV that a line names, and whether it says any
// that it does not name as the header does.
func luaNames(line string, names map[string]string) (problem bool, named []string) {
	says := len(luaPlace.FindAllString(line, -1)) + len(luaRest.FindAllString(line, -1))
	if m := luaNamed.FindStringSubmatch(line); m != nil {
		locals, values := strings.Split(m[1], ", "), luaValues(m[2])
		for i, name := range locals[:min(len(locals), len(values))] {
			place := ""
			if p := luaPlace.FindStringSubmatch(values[i]); p != nil && names[p[1]+" "+p[2]] == name {
				place = p[1] + " " + p[2]
			} else if p := luaRest.FindStringSubmatch(values[i]); p != nil {
				place = p[1] + " " + p[2] + "…"
			} else if luaFirst.MatchString(name) && regexp.MustCompile(`^\d+$`).MatchString(values[i]) {
				says++
				if place = "ARGV " + values[i] + "…"; names[place] == "" {
					place = "KEYS " + values[i] + "…"
				}
			}
			if names[place] != "" {
				named = append(named, place)
			}
		}
	}
	return says != len(named), named
}

// luaValues splits a list of expressions at its commas, but for those in brackets.
func luaValues(list string) []string {
	depth, from := 0, 0
	var out []string
	for i, c := range list {
		switch {
		case strings.ContainsRune("([{", c):
			depth++
		case strings.ContainsRune(")]}", c):
			depth--
		case c == ',' && depth == 0:
			out, from = append(out, strings.TrimSpace(list[from:i])), i+1
		}
	}
	return append(out, strings.TrimSpace(list[from:]))
}

// The rules find what breaks them.
func TestLuaRules(t *testing.T) {
	t.Parallel()
	good := "-- Does it.\n--\n-- KEYS[1] operation  detachd:{d4k2m0h5tq3s7g8p9v20}:op\n--\n-- ARGV[1]  now  1 (ms)\n-- ARGV[2…] rows  2\n--\n" +
		"-- Returns 1\n\nlocal operation, now = KEYS[1], tonumber(ARGV[1])\nlocal rows = {unpack(ARGV, 2)}\n"
	require.Empty(t, luaProblems(good))
	require.Empty(t, luaProblems(strings.Replace(good, "{unpack(ARGV, 2)}", "rows\nlocal first_row, row_args = 2, 1", 1)))
	for was, is := range map[string]string{
		"-- Does it.\n--\n":     "",
		"-- KEYS[1]":            "-- KEYS[2]",
		"ARGV[2…]":              "ARGV[3…]",
		"v20}:op":               "v20}:operation",
		"-- Returns":            "-- Gives",
		"local operation, now":  "local op, now",
		"tonumber(ARGV[1])":     "1",
		"{unpack(ARGV, 2)}":     "{unpack(ARGV, 3)}",
		"local rows":            "return ARGV[1]\nlocal rows",
		"rows = {unpack(ARGV,":  "all = {unpack(KEYS,",
		"-- ARGV[1]  now":       "-- ARGV[1…] now",
		"= {unpack(ARGV, 2)}\n": "= 1\nlocal first_row = 3\n",
	} {
		require.Contains(t, good, was)
		require.NotEmpty(t, luaProblems(strings.Replace(good, was, is, 1)), was)
	}
}

// Every file is used: a script by Go, a library by all the scripts that name it.
func TestLuaFilesAreUsed(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, source := range sources {
		text, err := os.ReadFile(source)
		require.NoError(t, err)
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		for _, m := range luaCalls.FindAllStringSubmatch(string(text), -1) {
			name, libs := m[1], regexp.MustCompile(`\w+`).FindAllString(m[2], -1)
			used["lua/"+name+".lua"] = true
			for i, lib := range libs {
				used["lua/lib/"+lib+".lua"] = true
				after := readLua(name)
				for _, other := range libs[i+1:] {
					after += readLua("lib/" + other)
				}
				functions := regexp.MustCompile(`(?m)^local function (\w+)`).FindAllStringSubmatch(readLua("lib/"+lib), -1)
				names := func(f []string) bool { return regexp.MustCompile(`\b` + f[1] + `\b`).MatchString(after) }
				require.True(t, slices.ContainsFunc(functions, names), "%s does not use %s", name, lib)
			}
		}
	}
	err = fs.WalkDir(luaFiles, "lua", func(file string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			require.True(t, used[file], "%s is not used", file)
		}
		return err
	})
	require.NoError(t, err)
	libs, err := fs.Glob(luaFiles, "lua/lib/*.lua")
	require.NoError(t, err)
	for _, file := range libs {
		text := readLua(strings.TrimSuffix(strings.TrimPrefix(file, "lua/"), ".lua"))
		require.NotRegexp(t, `KEYS|ARGV`, text, "%s is for scripts of any arguments", file)
		require.Regexp(t, `^-- [A-Z]`, text, "%s does not begin with what it does", file)
	}
}
