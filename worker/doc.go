// Package worker detaches desktops. It takes chunks from asynq, gathers their desktops into
// calls of at most 100, makes the calls, decides what each answer means, follows what the
// cloud accepted until a reading confirms it, and records the result for every desktop.
// It also continues the work of workers that died.
//
// The steps of a desktop:
//
//	listener     hears the bell that says which project has work
//	ranks        says in which order workers serve a project
//	runner       serves a project's queues while it has work
//	handler      runs one asynq task: reads its chunk from the record, puts what is left
//	             to do into the lane, and waits
//	clearance    asks whether the operation may begin: the window, and the person's answer
//	lane         gathers waiting desktops of one project into batches; its dispatcher
//	             gives each batch a free call slot (group commit, without a timer)
//	limiter      shares the requests a minute of a credential
//	check        claims and reads the desktops, and settles those that need no call
//	sender       records "sending", makes the call
//	outcome      does what the answer means, and splits a batch that one desktop spoils
//	follower     reads what was accepted, a hundred at a time, until it is confirmed
//
// Beside them:
//
//	resolve      settles desktops whose last call has an unknown outcome, by reading them
//	lookup       finds the desktops of users and computers that are named
//	hinter       finds out what unknown ids probably mean
//	brake        the canary and the stop-loss: releases the rest of an operation, or asks a
//	             person about it; the record counts, and refuses the calls
//	undo         what differs if an operation gives desktops back: request, guards, refusals
//	committer    writes the moves of desktops to the record, and reports them
//	reconciler   enqueues the chunks that dead workers had in hand, and those whose task
//	             was lost
//	policy       a package of tables: what an error means and what is done about it, and
//	             what a reading means
//
// The record is read before anything is done, and every write to it is a compare-and-set, so
// a task that asynq runs twice does no harm. A 200 means that the cloud accepted a desktop;
// only a reading proves that it is detached.
package worker
