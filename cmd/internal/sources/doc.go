// Package sources reads what a schedule names: its list, a file on this machine, the desktops
// that a selector matches, or those of everybody who is not in a list. What it finds are
// requests; it makes no operation and keeps nothing.
//
// It concludes nothing from what it could not read. A file is taken whole, once it has stopped
// changing, or not at all. A fleet of which one page fails is not read. A desktop matches a
// selector only by what a reading shows of it, and an empty list is nobody's leave.
//
//	r := sources.New(sources.Config{Lists: dir, Settle: 5 * time.Second, Fleet: planner})
//	found, err := r.Read(ctx, schedule, lastRows)
package sources
