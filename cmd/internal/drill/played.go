package drill

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/record"
	"github.com/detachd/detachd/tasks/redistest"
)

// Played is for tests of what judges a drill: an Env without processes, in which a
// desktop was submitted, detached by so many calls, and recorded as end. An end of 0
// leaves the operation open. The cloud does not get a desktop of kind Nowhere.
func Played(t testing.TB, d fakecloud.Desktop, calls int, end tasks.State) (*Env, record.Operation) {
	e, err := Open(Site{Dir: t.TempDir()}, Setup{Redis: redistest.Mini(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if !Nowhere.Has(d.ID) {
		e.Cloud.Add(ProjectID, d)
	}
	op, err := e.record(t.Context(), d.ID, end)
	for range calls {
		err = cmp.Or(err, e.detach(t.Context(), d.ID))
	}
	if err != nil {
		t.Fatal(err)
	}
	return e, op
}

// record adds an operation of one desktop, and ends it if there is an end.
func (e *Env) record(ctx context.Context, desktop string, end tasks.State) (op record.Operation, err error) {
	producer, err := record.NewProducer(e.Redis, record.ProducerConfig{Projects: []string{Project}})
	if err != nil {
		return op, err
	}
	op, err = producer.Enqueue(ctx, tasks.Request{Project: Project, Desktops: []string{desktop}})
	if err != nil {
		return op, err
	}
	return e.ends(ctx, op, end)
}

// Undone is Played for an undo of its operation: the desktop was given to users by calls, one
// for each, and recorded as end.
func (e *Env) Undone(t testing.TB, op record.Operation, desktop string, end tasks.State, users ...string) record.Operation {
	producer, err := record.NewProducer(e.Redis, record.ProducerConfig{Projects: []string{Project}})
	var undo record.Operation
	if err == nil {
		undo, err = producer.Undo(t.Context(), op, tasks.UndoRequest{Desktops: []string{desktop}, Reason: "a mistake"})
	}
	for _, name := range users {
		err = cmp.Or(err, e.attach(t.Context(), desktop, name))
	}
	if err == nil {
		undo, err = e.ends(t.Context(), undo, end)
	}
	if err != nil {
		t.Fatal(err)
	}
	return undo
}

// ends ends an operation of one desktop, if there is an end.
func (e *Env) ends(ctx context.Context, op record.Operation, end tasks.State) (record.Operation, error) {
	if end == 0 {
		return op, nil
	}
	c, err := e.Record.Chunk(ctx, op.ID, 0)
	if err != nil {
		return op, err
	}
	change := record.Change{Operation: op, Moves: []record.Move{{Desktop: c.Desktops[0], To: end}}}
	if _, err := e.Record.Apply(ctx, time.Now(), []record.Change{change}); err != nil {
		return op, err
	}
	if _, err := e.Record.Finish(ctx, []string{op.ID}); err != nil {
		return op, err
	}
	return e.Record.Operation(ctx, op.ID)
}

// detach calls the cloud.
func (e *Env) detach(ctx context.Context, desktop string) error {
	client, err := e.client()
	if err == nil {
		_, err = client.Detach(ctx, apiclient.DetachRequest{DesktopIDs: []string{desktop}})
	}
	return err
}

func (e *Env) attach(ctx context.Context, desktop, user string) error {
	client, err := e.client()
	if err == nil {
		users := []apiclient.User{{Name: user, Group: "users"}}
		_, err = client.Attach(ctx, []apiclient.Attachment{{DesktopID: desktop, Users: users}})
	}
	return err
}

func (e *Env) client() (*apiclient.Client, error) {
	return apiclient.New(apiclient.Config{ProjectID: ProjectID, Endpoint: e.Cloud.URL, Auth: apiclient.StaticToken(token)})
}
