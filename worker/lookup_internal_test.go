package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDesktopsAreCounted(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0 desktops", 1: "1 desktop", 2: "2 desktops", 11: "11 desktops", 101: "101 desktops"} {
		require.Equal(t, want, counted(n))
	}
}
