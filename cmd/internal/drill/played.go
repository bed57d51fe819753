package drill

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Played is for tests of what judges a drill: an Env without processes, in which a
// desktop was submitted, detached by so many calls, and recorded as end. An end of 0
// leaves the operation open. The cloud does not get a desktop of kind Nowhere.
func Played(t testing.TB, d fakecloud.Desktop, calls int, end tasks.State) (*Env, record.Operation) {
	ctx := t.Context()
	e, err := Open(Site{Dir: t.TempDir()}, Setup{Redis: redistest.Mini(t)})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	if !Nowhere.Has(d.ID) {
		e.Cloud.Add(ProjectID, d)
	}
	producer, err := record.NewProducer(e.Redis, record.ProducerConfig{Projects: []string{Project}})
	require.NoError(t, err)
	op, err := producer.Enqueue(ctx, tasks.Request{Project: Project, Desktops: []string{d.ID}})
	require.NoError(t, err)
	for range calls {
		body := strings.NewReader(fmt.Sprintf(`{"desktop_ids":[%q]}`, d.ID))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.Cloud.URL+"/v2/"+ProjectID+"/desktops/detach", body)
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", token)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	if end != 0 {
		c, err := e.Record.Chunk(ctx, op.ID, 0)
		require.NoError(t, err)
		_, err = e.Record.Apply(ctx, time.Now(), []record.Change{{Operation: op, Moves: []record.Move{{Desktop: c.Desktops[0], To: end}}}})
		require.NoError(t, err)
		_, err = e.Record.Finish(ctx, []string{op.ID})
		require.NoError(t, err)
		op, err = e.Record.Operation(ctx, op.ID)
		require.NoError(t, err)
	}
	return e, op
}
