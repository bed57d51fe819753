package sources

import (
	"context"
	"errors"

	"github.com/detachd/detachd/tasks"
)

var errSoon = errors.New("not yet")

func (r *Reader) files(context.Context, tasks.Schedule) (Found, error) { return Found{}, errSoon }
func (r *Reader) selected(context.Context, tasks.Schedule, tasks.Selector) (Found, error) {
	return Found{}, errSoon
}
func (r *Reader) notIn(context.Context, tasks.Schedule, tasks.NotIn, int) (Found, error) {
	return Found{}, errSoon
}
