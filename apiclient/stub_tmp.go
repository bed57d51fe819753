package apiclient

import "context"

type UserDetach struct {
	DesktopID string
	Users     []User
}
type SubJob struct{ DesktopID, Status, Code, Reason, Type string }

func (c *Client) DetachUsers(ctx context.Context, desktops []UserDetach) (*DetachResult, error) {
	return nil, localError(listCall(nil), context.Canceled)
}
func (c *Client) DesktopsOf(ctx context.Context, names []string) ([]Desktop, error) {
	return nil, localError(listCall(nil), context.Canceled)
}
func (c *Client) SubJobs(ctx context.Context, jobID string) ([]SubJob, error) {
	return nil, localError(listCall(nil), context.Canceled)
}
