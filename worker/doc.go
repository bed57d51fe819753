// Package worker does the detaching: it takes chunks from asynq, gathers their
// desktops into calls of at most 100, makes the calls, decides what each answer
// means, follows what the cloud accepted until it is proven, and writes what
// became of every desktop to the record. It also looks after what other workers
// left behind when they died.
//
// A desktop travels like this:
//
//	handler      one asynq task: reads its chunk from the record, hands what is
//	             left to do to the lane, and waits
//	lane         gathers waiting desktops of one project into batches and gives
//	             each batch a free call slot (group commit: no timer)
//	limiter      shares out what a credential may send a minute
//	check        claims and reads every desktop, and holds, settles or lets go
//	sender       writes "sending", makes the call, and splits a batch that one
//	             desktop spoils
//	lookup       finds the desktops of users and computers that are named
//	hinter       says what was probably meant by ids that mean nothing
//	policy       a package of tables: what an error means and what is done about it,
//	             and what a reading means
//	follower     reads what was accepted, a hundred at a time, until it is so
//	reconciler   goes on with what dead workers had in hand, and enqueues chunks
//	             whose task was lost
//
// The record is read before anything is done and every write to it is a
// compare-and-set, so a task that asynq runs twice does no harm. A 200 means
// that the cloud took a desktop; only a reading proves that it is detached.
package worker
