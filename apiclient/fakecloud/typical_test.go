package fakecloud_test

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestTypicalDesktopsDiffer(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{})
	rapid.Check(t, func(t *rapid.T) {
		i, j := rapid.IntRange(0, 2_000_000).Draw(t, "i"), rapid.IntRange(0, 2_000_000).Draw(t, "j")
		a, b := fakecloud.Typical(i), fakecloud.Typical(j)
		require.Equal(t, i == j, a.ID == b.ID)
		require.Equal(t, i == j, a.ComputerName == b.ComputerName)
		require.Equal(t, i == j, a.Users[0].Name == b.Users[0].Name)
		require.Equal(t, i == j, a.Users[0].ID == b.Users[0].ID)
		require.NotEqual(t, a.ID, b.Users[0].ID)
		require.Regexp(t, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", a.ID)
		require.Equal(t, a.ID, fakecloud.TypicalID(i))
		require.LessOrEqual(t, utf8.RuneCountInString(a.ComputerName), 15)
		require.Equal(t, a, fakecloud.Typical(i))
		c.Add(proj, a)
		got, found := c.Get(proj, a.ID)
		require.True(t, found)
		require.Equal(t, a.Users[0].Name, got.Users[0].Name)
	})
}
