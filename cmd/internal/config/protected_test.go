package config

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestProtectionsOfTheConfiguration(t *testing.T) {
	t.Parallel()
	cfg, err := Load(write(t, oneProject+`    require: {ticket: true}
    protected: [{name: kiosks, computers: ["KIOSK-*"]}]
protected:
  - {name: board, users: [ann, bo], tags: ["role=jump host"]}
`), env())
	require.NoError(t, err)
	require.Equal(t, []tasks.Protection{
		{Name: "board", Kind: tasks.ProtectUser, Pattern: "ann", Configured: true},
		{Name: "board", Kind: tasks.ProtectUser, Pattern: "bo", Configured: true},
		{Name: "board", Kind: tasks.ProtectTag, Pattern: "role=jump host", Configured: true},
		{Name: "kiosks", Kind: tasks.ProtectComputer, Pattern: "KIOSK-*", Project: "hq", Configured: true},
	}, cfg.Protections())
	require.Equal(t, Require{Ticket: true}, cfg.Projects[0].Require)
	guards := cfg.Guards()
	require.Equal(t, []string{"ann, bo", "role=jump host", "KIOSK-*", "true", "false"}, []string{
		guards["protected.board.user"], guards["protected.board.tag"], guards["projects.hq.protected.kiosks.computer"],
		guards["projects.hq.require.ticket"], guards["projects.hq.require.reason"],
	})

	_, err = Load(write(t, oneProject+`    protected: [{name: kiosks, computers: ["["]}]
protected:
  - {name: board}
  - {name: The board, users: [" ann"]}
  - {name: x, room: ["1"]}
`), env())
	for _, want := range []string{
		"projects[0].protected[0].computers[0]: \"[\" is not a pattern", `protected[0].name: "board" protects nothing`,
		`protected[1].name: is "The board": 1 to 40`, `protected[1].users[0]: " ann" has space at an end`, "protected[2].room: no such key",
	} {
		require.ErrorContains(t, err, want)
	}
}
