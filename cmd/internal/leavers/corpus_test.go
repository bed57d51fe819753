package leavers

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample is a list of testdata, and what a careful person makes of it.
type sample struct {
	name, encoding, text string
	take, stay           []string
	refused              bool
}

func samples(t testing.TB, file string) (out []sample) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	for _, part := range strings.Split(string(raw), "\n@ ")[1:] {
		head, text, _ := strings.Cut(part, "\n\n")
		lines := strings.Split(head, "\n")
		s := sample{name: lines[0], encoding: "UTF-8", text: strings.ReplaceAll(text, "<TAB>", "\t")}
		for _, line := range lines[1:] {
			what, value, _ := strings.Cut(line, " ")
			switch what {
			case "as":
				s.encoding = value
			case "take":
				s.take = strings.Split(value, ", ")
			case "stay":
				s.stay = strings.Split(value, ", ")
			case "refused":
				s.refused = true
			default:
				t.Fatalf("%s: %q", s.name, line)
			}
		}
		if s.take != nil && s.take[0] == "" {
			s.take = nil
		}
		require.True(t, s.refused || s.take != nil || s.stay != nil, s.name)
		out = append(out, s)
	}
	return out
}

func (s sample) read() (*List, error) {
	l := New("hq", known)
	l.Now = noon
	if s.encoding == "lines" {
		return l, l.ReadText(strings.NewReader(s.text), Users)
	}
	return l, l.Read(strings.NewReader(encodings[s.encoding](s.text)))
}

// named are the users of a list, with their desktops and computers.
func named(l *List) (out []string) {
	for _, x := range l.Good {
		switch machine := x.Desktop + x.Computer; machine {
		case "":
			out = append(out, x.User)
		default:
			out = append(out, machine+"/"+x.User)
		}
	}
	return out
}

// An ordinary list works without a flag, and takes what it names.
func TestOrdinaryLists(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t, "ordinary.txt") {
		l, err := s.read()
		require.NoError(t, err, s.name)
		require.Empty(t, l.Bad, s.name)
		require.Equal(t, s.take, named(l), s.name)
	}
}

// Nobody who stays, or leaves later, is taken: the row is refused by its line, or the list as a whole.
func TestMixedLists(t *testing.T) {
	t.Parallel()
	for _, s := range samples(t, "mixed.txt") {
		l, err := s.read()
		users := named(l)
		for i, user := range users {
			users[i] = user[strings.IndexByte(user, '/')+1:]
		}
		switch {
		case err != nil: // nothing is used
			continue
		case s.refused:
			require.NotZero(t, l.BadRows, s.name)
		default:
			require.Equal(t, s.take, users, s.name)
			require.GreaterOrEqual(t, l.BadRows, len(s.stay), s.name)
		}
		require.False(t, slices.ContainsFunc(s.stay, func(user string) bool { return slices.Contains(users, user) }), s.name)
	}
}
