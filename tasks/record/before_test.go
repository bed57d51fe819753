package record

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/detachd/detachd/tasks"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// readings are what a hundred desktops are like: a user of their own each.
func readings(n int) []beforeAt {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	first, last := strings.Fields("maria jonas li chen anna peter lucia omar ivan sofia"), strings.Fields("schmidt mueller wang zhang rossi garcia dubois novak kim")
	uuid := func() string {
		var b [16]byte
		for i := range b {
			b[i] = byte(rng.UintN(256))
		}
		return unpackID(idUUID, string(b[:]))
	}
	out := make([]beforeAt, n)
	for i := range out {
		out[i] = beforeAt{i, tasks.Before{
			Name: fmt.Sprintf("PC-%05d", rng.IntN(100_000)), Type: "DEDICATED", Status: "ACTIVE", AttachState: "ATTACHED",
			ReadAt: time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC),
			Users: []tasks.Person{{
				Name: fmt.Sprintf("%s.%s-%04d", first[rng.IntN(len(first))], last[rng.IntN(len(last))], rng.IntN(10_000)),
				ID:   uuid(), Group: "users", Type: "USER",
			}},
		}}
	}
	return out
}

// What the doc comment promises.
func TestPackedReadingsAreSmall(t *testing.T) {
	t.Parallel()
	bytes := map[int]int{}
	for _, n := range []int{1, 100} {
		rows := readings(n)
		packed := packBefore(rows)
		back, err := unpackBefore(packed)
		require.NoError(t, err)
		require.Equal(t, rows, back)
		bytes[n] = len(packed) / n
	}
	t.Log(bytes)
	require.LessOrEqual(t, bytes[100], 40)
	require.LessOrEqual(t, bytes[1], 110)
}

func drawReadings() *rapid.Generator[[]beforeAt] {
	text := rapid.OneOf(rapid.SampledFrom([]string{"", "USER", "GROUP", "zoe", "ATTACHED", `a"b\c|"b":"`, "\xff\xfe", "Zoë"}), rapid.String())
	id := rapid.OneOf(text, rapid.Custom(func(t *rapid.T) string {
		raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "raw")
		s := unpackID(rapid.SampledFrom([]byte{idUUID, idHex}).Draw(t, "kind"), string(raw))
		if rapid.Bool().Draw(t, "capital") {
			s = strings.ToUpper(s)
		}
		return s
	}))
	person := rapid.Custom(func(t *rapid.T) tasks.Person {
		return tasks.Person{Name: text.Draw(t, "name"), ID: id.Draw(t, "id"), Domain: text.Draw(t, "domain"), Group: text.Draw(t, "group"), Type: text.Draw(t, "type")}
	})
	return rapid.Custom(func(t *rapid.T) []beforeAt {
		some := rapid.SliceOfN(person, 1, 5).Draw(t, "people")
		var out []beforeAt
		for p := range ChunkSize {
			if rapid.IntRange(0, 9).Draw(t, "is read") > 0 {
				continue
			}
			b := tasks.Before{
				Name: text.Draw(t, "computer"), Type: text.Draw(t, "type"), Status: text.Draw(t, "status"), AttachState: text.Draw(t, "attach state"),
				Users:  rapid.SliceOfN(rapid.SampledFrom(some), 0, 4).Draw(t, "users"),
				Tags:   rapid.SliceOfN(text, 0, 2).Draw(t, "tags"),
				ReadAt: time.UnixMilli(rapid.Int64Range(-1e14, 1e14).Draw(t, "at")).UTC(),
			}
			if len(b.Tags) == 0 {
				b.Tags = nil
			}
			out = append(out, beforeAt{p, b})
		}
		return out
	})
}

// valid is what JSON would make of the texts.
func valid(rows []beforeAt) []beforeAt {
	fix := func(s *string) { *s = strings.ToValidUTF8(*s, string(utf8.RuneError)) }
	for i := range rows {
		b := &rows[i].Before
		for _, s := range []*string{&b.Name, &b.Type, &b.Status, &b.AttachState} {
			fix(s)
		}
		for n := range b.Users {
			p := &b.Users[n]
			for _, s := range []*string{&p.Name, &p.ID, &p.Domain, &p.Group, &p.Type} {
				fix(s)
			}
		}
		for n := range b.Tags {
			fix(&b.Tags[n])
		}
	}
	return rows
}

// Whatever was read comes back, and not more of the trail is taken for it.
func TestReadingsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rows := drawReadings().Draw(t, "rows")
		packed := packBefore(rows)
		back, err := unpackBefore(packed)
		require.NoError(t, err)
		rows = valid(rows)
		require.Len(t, back, len(rows))
		for i := range rows {
			require.Equal(t, rows[i], back[i])
		}
		entry := fmt.Sprintf(`{"t":1,"by":%s,"b":"%s","m":[["QS|k|x","0"]]}`, mustJSON(`"b":"eve`), packed)
		found, err := readingsOf(entry)
		require.NoError(t, err)
		require.Equal(t, back, found)
		parsed, err := ParseTrailEntry(entry)
		require.NoError(t, err)
		require.Len(t, parsed.Before, len(rows))
		for _, b := range back {
			require.Equal(t, b.Before, parsed.Before[b.position])
		}
	})
}

// What is cut off, has more at its end, or swells without end is refused.
func TestWhatCannotBeUnpacked(t *testing.T) {
	t.Parallel()
	whole, err := base64.RawStdEncoding.DecodeString(packBefore(readings(3)))
	require.NoError(t, err)
	refused := func(raw []byte, why string) {
		_, err := unpackBefore(base64.RawStdEncoding.EncodeToString(raw))
		require.ErrorIs(t, err, errPacked, why)
	}
	for n := range whole {
		refused(whole[:n], fmt.Sprintf("the first %d bytes", n))
	}
	refused(append(slices.Clone(whole), 0), "one too many")
	refused(append([]byte{packVersion + 1}, whole[1:]...), "another version")
	for name, plain := range map[string][]byte{
		"a column too many": {0, 0}, "too many rows": {101}, "a place too far": {1, 100},
		"someone not yet known": {1, 0, 0, 0, 0, 0, 0, 1, 0, 1}, "more than there are": {1, 0, 0, 0, 0, 0, 0, 200, 1, 0},
		"no end": make([]byte, maxUnpacked+1),
	} {
		text := deflated(plain, nil)
		_, err := unpackBefore(text)
		require.ErrorIs(t, err, errPacked, name)
	}
	last := readings(2)
	last[0].position, last[1].position = 98, 99
	outer, err := base64.RawStdEncoding.DecodeString(packBefore(last))
	require.NoError(t, err)
	ids := packed{s: string(outer[1:])}
	plain, err := inflate(ids.text())
	require.NoError(t, err)
	require.Equal(t, "\x02\x62\x00", plain[:3])
	_, err = unpackBefore(deflated([]byte("\x02\x63"+plain[2:]), []byte(ids.s)))
	require.ErrorIs(t, err, errPacked, "the last place twice")
	_, err = ParseTrailEntry(`{"t":1,"b":"???","m":[]}`)
	require.ErrorIs(t, err, errPacked)
}

// A report can be anybody's: whatever it has for readings is unpacked, or refused.
func FuzzUnpackBefore(f *testing.F) {
	for _, n := range []int{0, 1, 3, 100} {
		f.Add(packBefore(readings(n)))
	}
	f.Add("")
	f.Add("AQEA")
	f.Fuzz(func(t *testing.T, text string) {
		rows, err := unpackBefore(text)
		if err != nil {
			return
		}
		for i, b := range rows {
			require.Less(t, b.position, ChunkSize)
			if i > 0 {
				require.Greater(t, b.position, rows[i-1].position)
			}
		}
		again, err := unpackBefore(packBefore(rows))
		require.NoError(t, err)
		require.Equal(t, valid(rows), again)
	})
}

func FuzzUnpackColumns(f *testing.F) { // what is beneath the compression
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0}, "0123456789abcdef")
	f.Fuzz(func(t *testing.T, plain []byte, ids string) {
		rows, err := unpackBefore(deflated(plain, []byte(ids)))
		if err != nil {
			return
		}
		again, err := unpackBefore(packBefore(rows))
		require.NoError(t, err)
		require.Equal(t, valid(rows), again)
	})
}

func TestIDs(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]byte{
		"f5057fee-4c3e-4459-82dd-21250b729601": idUUID, "f5057fee4c3e445982dd21250b729601": idHex,
		"F5057fee-4c3e-4459-82dd-21250b729601": idText, "f5057fee-4c3e-4459-82dd-21250b72960g": idText, "": idText, "x": idText,
		"f5057fee-4c3e4459-82dd-21250b7296011": idText,
	} {
		kind, raw := packID(id)
		require.Equal(t, want, kind, id)
		if kind != idText {
			require.Equal(t, id, unpackID(kind, string(raw[:])))
			require.Len(t, hex.EncodeToString(raw[:]), 32)
		}
	}
}

func BenchmarkPackBefore(b *testing.B) {
	rows := readings(100)
	for b.Loop() {
		packBefore(rows)
	}
}

func BenchmarkUnpackBefore(b *testing.B) {
	text := packBefore(readings(100))
	for b.Loop() {
		if _, err := unpackBefore(text); err != nil {
			b.Fatal(err)
		}
	}
}
