package fakecloud_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// model is what one desktop has to look like, kept with plain words.
type model struct {
	state    string // on, going, off
	due      time.Time
	accepted int
}

// Whatever is detached, given back and looked at in whatever order: a desktop
// is off exactly DetachDelay after a detach was accepted, a call that names one
// on its way does nothing at all, and every acceptance is counted.
func TestDetachAgainstAModel(t *testing.T) {
	t.Parallel()
	const delay = 10 * time.Second
	rapid.Check(t, func(t *rapid.T) {
		clk := newClock()
		c := fakecloud.New(fakecloud.Config{Clock: clk.Now, DetachDelay: delay, AutoCreate: rapid.Bool().Draw(t, "auto")})
		models := map[string]*model{}
		ids := []string{"a", "b", "c", "d"}
		for _, id := range ids {
			models[id] = &model{state: "on"}
			record(c, "GET", "/v2/p/desktops/"+id, "") // makes it, if AutoCreate
			if _, found := c.Get("p", id); !found {
				c.Add("p", fakecloud.Desktop{ID: id})
			}
		}
		named := rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, len(ids), rapid.ID[string])
		t.Repeat(map[string]func(*rapid.T){
			"detach": func(t *rapid.T) {
				call := named.Draw(t, "ids")
				busy := false
				for _, id := range call {
					busy = busy || models[id].state == "going"
				}
				want := 200
				if busy {
					want = 409
				}
				require.Equal(t, want, record(c, "POST", "/v2/p/desktops/detach", detachBody(call...)).Code)
				for _, id := range call {
					if m := models[id]; !busy {
						m.accepted++
						if m.state == "on" {
							m.state, m.due = "going", clk.Now().Add(delay)
						}
					}
				}
			},
			"attach": func(t *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(t, "id")
				c.Attach("p", id, fakecloud.User{Name: "zoe"})
				models[id].state = "on"
			},
			"advance": func(t *rapid.T) {
				clk.advance(time.Duration(rapid.IntRange(0, 12).Draw(t, "s")) * time.Second)
				for _, m := range models {
					if m.state == "going" && !clk.Now().Before(m.due) {
						m.state = "off"
					}
				}
			},
			"": func(t *rapid.T) {
				for id, m := range models {
					d, _ := c.Get("p", id)
					require.Equal(t, map[string]string{"on": "ATTACHED", "going": "DEATTACHING", "off": "DEATTACHED"}[m.state], d.AttachState, id)
					require.Equal(t, m.state == "off", len(d.Users) == 0, id)
					require.Equal(t, m.accepted, c.DetachedTimes("p", id), id)
				}
				require.Empty(t, c.InTwoCallsAtOnce(), fmt.Sprint(models))
			},
		})
	})
}
