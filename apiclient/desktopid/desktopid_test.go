package desktopid

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const some = "7d0f0001-0000-4000-8abc-0000000000ef"

func TestSpellingsOfAnID(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		some, strings.ToUpper(some), "{" + some + "}", "{" + strings.ToUpper(some) + "}", "(" + some + ")", "urn:uuid:" + some, "URN:UUID:" + strings.ToUpper(some),
		" " + some + "\t", "\u00a0" + some + "\u00a0", "\u202f" + some, "\ufeff" + some, some + "\u200b", "\u2060\u200d" + some + "\u200e", "{ " + some + " }", "\u3000" + some,
		some + "\r\n", "\u00ad" + some,
	} {
		id, problem := Parse(text)
		require.Empty(t, problem, "%q", text)
		require.Equal(t, some, id, "%q", text)
	}
	for _, text := range []string{
		"d-000001", "D-000001", "guard-own", "7d0f0001000040008abc0000000000ef", "é", "{d1}", "urn:uuid:d1", "7d0f0001-0000-4000-8abc-0000000000eg",
		"1", "42", "e5", "1e", "0x1e5", "d'1", "a=b", "a#1", strings.Repeat("é", maxLength),
	} {
		id, problem := Parse(text)
		require.Empty(t, problem, "%q", text)
		require.Equal(t, text, id, "an id other than a UUID stays exactly as it is")
	}
}

func TestWhatIsNoID(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "is empty", "\xff": "not valid UTF-8", strings.Repeat("é", maxLength+1): "longer than 255",
		"a b": "white space", " d1": "white space", "a\u00a0b": "white space", "d1\u200b": "not printable", "d\x1b[2J": "not printable",
		"7.0E+13": "is a number", "7,00E+13": "is a number", "7E+13": "is a number", "7e13": "is a number", "-1.5e-07": "is a number", " 7.0E+13 ": "is a number", "\u00a07,0E+13": "is a number",
		`="` + some + `"`: "is a formula", "=A1": "is a formula", "'" + some: "apostrophe", "’" + some: "apostrophe", "'d1": "apostrophe",
		"#NAME?": "error value", "#REF!": "error value", "#N/A": "error value", "#NV": "error value", "########": "error value", "#¿NOMBRE?": "error value",
		some[:9] + " " + some[9:]: "white space",
	} {
		id, problem := Parse(text)
		require.Contains(t, problem, want, "%q", text)
		require.Equal(t, text, id)
		require.Contains(t, Check(text), want, "%q", text)
	}
	require.Contains(t, Check(" "+some), "white space", "as it is, not as it is meant")
}

// What is an id by the one rule is an id in the same way once more.
func FuzzParse(f *testing.F) {
	for _, s := range []string{some, "{" + some + "}", "7.0E+13", `="x"`, "'x", "\ufeff" + some, "urn:uuid:", "{}", "d1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, problem := Parse(text)
		if problem != "" {
			if id != text {
				t.Fatalf("%q is refused as %q", text, id)
			}
			return
		}
		if Check(id) != "" || utf8.RuneCountInString(id) > maxLength {
			t.Fatalf("%q is %q, which is none", text, id)
		}
		if again, problem := Parse(id); again != id || problem != "" {
			t.Fatalf("%q is %q, which is %q: %s", text, id, again, problem)
		}
	})
}

func TestEverySpellingIsOneID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`).Draw(t, "id")
		text := []rune(id)
		for i := range text {
			if rapid.Bool().Draw(t, "upper") {
				text[i] = []rune(strings.ToUpper(string(text[i])))[0]
			}
		}
		around := rapid.StringMatching("[ \t\u00a0\u2007\u202f\ufeff\u200b\u200d\u2060]{0,3}")
		form := rapid.SampledFrom([]string{"%", "{%}", "(%)", "urn:uuid:%", "URN:UUID:%"}).Draw(t, "form")
		spelled := around.Draw(t, "before") + strings.Replace(form, "%", string(text), 1) + around.Draw(t, "after")
		if got, problem := Parse(spelled); got != id || problem != "" {
			t.Fatalf("%q is %q: %s", spelled, got, problem)
		}
	})
}
