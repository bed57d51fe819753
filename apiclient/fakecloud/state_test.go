package fakecloud_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

func TestAddFillsIn(t *testing.T) {
	t.Parallel()
	c := fakecloud.New(fakecloud.Config{})
	users := []fakecloud.User{{Name: "ann"}}
	c.Add(proj, fakecloud.Desktop{ID: "a", Users: users}, fakecloud.Desktop{ID: "b", AttachState: fakecloud.Unattached})
	users[0].Name = "changed"
	a, _ := c.Get(proj, "a")
	require.Equal(t, []fakecloud.User{{ID: "id-ann", Name: "ann", Group: "users", Type: "USER"}}, a.Users)
	a.Users[0].Name = "changed"
	a, _ = c.Get(proj, "a")
	require.Equal(t, "ann", a.Users[0].Name, "what is handed out is a copy")
	b, _ := c.Get(proj, "b")
	require.Empty(t, b.Users)
	_, found := c.Get("other", "a")
	require.False(t, found)
}

func TestUpdateKeepsADetachOnItsWay(t *testing.T) {
	t.Parallel()
	clk := newClock()
	c := serve(t, fakecloud.Config{Clock: clk.Now, DetachDelay: time.Minute})
	c.Add(proj, fakecloud.Desktop{ID: "a"}, fakecloud.Desktop{ID: "b"}, fakecloud.Desktop{ID: "c"})
	c.detach("a", "b", "c")
	require.True(t, c.Update(proj, "a", func(d *fakecloud.Desktop) { d.Frozen = true }))
	require.True(t, c.Update(proj, "b", func(d *fakecloud.Desktop) { d.AttachState = fakecloud.DetachFailed }))
	require.True(t, c.Attach(proj, "c", fakecloud.User{Name: "zoe"}))
	require.Equal(t, fakecloud.Detaching, c.state("a"))
	clk.advance(time.Hour)
	require.Equal(t, fakecloud.Detached, c.state("a"))
	require.Equal(t, fakecloud.DetachFailed, c.state("b"))
	d, _ := c.Get(proj, "c")
	require.Equal(t, fakecloud.Attached, d.AttachState)
	require.Equal(t, "zoe", d.Users[0].Name)
	require.False(t, c.Update(proj, "nobody", func(*fakecloud.Desktop) {}))
}

func TestAttachAfterDetach(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{AutoCreate: true})
	c.detach("a")
	c.Attach(proj, "a", fakecloud.User{Name: "bob"})
	d, _ := c.Get(proj, "a")
	require.Equal(t, fakecloud.Active, d.Status)
	require.Equal(t, "bob", d.Users[0].Name)
	c.detach("a")
	require.Equal(t, fakecloud.Detached, c.state("a"))
	require.Equal(t, 2, c.DetachedTimes(proj, "a"))
	require.False(t, c.Attach(proj, "nobody"))
}

func TestRemove(t *testing.T) {
	t.Parallel()
	c := serve(t, fakecloud.Config{})
	c.Add(proj, fakecloud.Desktop{ID: "a"})
	c.detach("a")
	require.True(t, c.Remove(proj, "a"))
	require.False(t, c.Remove(proj, "a"))
	require.Empty(t, c.Desktops(proj))
	require.Equal(t, 404, c.get("/desktops/a").status)
	require.Equal(t, 1, c.DetachedTimes(proj, "a"), "what was counted is kept")
	c.Add(proj, fakecloud.Desktop{ID: "a"})
	require.Equal(t, fakecloud.Attached, c.state("a"))
}
