package tasks

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProtectionsAreValidated(t *testing.T) {
	t.Parallel()
	fields := func(p Protection) (out []string) {
		if err := p.Validate(); err != nil {
			for _, x := range err.(*ValidationError).Problems {
				out = append(out, x.Field)
			}
		}
		return out
	}
	for _, kind := range ProtectionKinds {
		require.Empty(t, fields(Protection{Name: "a.b-c_1", Kind: kind, Pattern: "x"}), kind)
		for _, pattern := range []string{"", " x", "x\n", "\xff", strings.Repeat("x", 600)} {
			require.Equal(t, []string{"pattern"}, fields(Protection{Name: "a", Kind: kind, Pattern: pattern}), "%s %q", kind, pattern)
		}
	}
	require.Equal(t, []string{"name", "kind"}, fields(Protection{Name: "A b", Kind: "room", Pattern: "x"}))
	require.Equal(t, []string{"reason"}, fields(Protection{Name: "a", Kind: ProtectPool, Pattern: "x", Reason: strings.Repeat("x", 1001)}))
	for _, pattern := range []string{"[", `x\`, "[]", "[z-a"} {
		require.Equal(t, []string{"pattern"}, fields(Protection{Name: "a", Kind: ProtectComputer, Pattern: pattern}), pattern)
		require.Empty(t, fields(Protection{Name: "a", Kind: ProtectUser, Pattern: pattern}), "only computers have patterns")
	}
}

func TestSpellingsThatARuleKnows(t *testing.T) {
	t.Parallel()
	for _, same := range [][2]string{{"Ann", "ANN"}, {"zo\u00e9", "ZOE\u0301"}, {"\u212a", "k"}} {
		require.Equal(t, Fold(same[0]), Fold(same[1]))
	}
	uuid := "8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11"
	require.Equal(t, uuid, Protection{Kind: ProtectDesktop, Pattern: "{" + strings.ToUpper(uuid) + "}"}.Folded())
}
