// Package fakecloud stands in for the Huawei Cloud Workspace API: a stateful
// http.Handler with desktops that are attached to users, calls that take the
// users away, jobs that follow such a call, and IAM tokens to ask with.
//
// It serves
//
//	POST /v3/auth/tokens
//	POST /v2/{project_id}/desktops/detach
//	POST /v2/{project_id}/desktops/batch-detach
//	GET  /v2/{project_id}/desktops/detail
//	GET  /v2/{project_id}/desktops/{desktop_id}
//	GET  /v2/{project_id}/users
//	GET  /v2/{project_id}/workspace-jobs/{job_id}
//	GET  /v2/{project_id}/workspace-sub-jobs
//
// and nothing else of the real API. It shares no code with the client: both
// are written from the public documentation, so that a mistake in one is not
// repeated by the other.
//
// # Time
//
// What a desktop is doing is computed from Config.Clock when somebody looks.
// There are no timers and no goroutines behind a detach that takes a while, so
// a clock under the test's control drives all of it. Only Config.Latency,
// Config.Jitter, Config.ReadLatency and Fault.Delay are waits in real time.
//
// # What is documented and what is guessed
//
// Paths, shapes, states and the codes of the gateway are as documented. The
// following is not public, and is this package's choice:
//
//   - The codes in failed_operation_list: CodeHibernated, CodeFrozen,
//     CodeMaintenance and CodeNotFound are invented. A client that decides by
//     them is wrong; it has to read the desktop back.
//   - A desktop that is busy, or is being attached or detached, fails the whole
//     call with 409 WKS.00010032.
//   - A detach that ends as DEATTACHING never ends; its part of a job runs on.
//   - A detach of a desktop without users is accepted and changes nothing.
//   - Detach takes every user off a SHARED desktop. A batch-detach that names
//     nobody and does not say all is invalid; a user who is not there is ignored.
//   - A single-user desktop is shut down after it was detached unless
//     shutoff_after_detach is false; a SHARED one runs unless it is true.
//   - The ids in success_job_ids are unknown to the job calls.
//   - user_names and computer_names match exactly (see Config.FuzzyUserNames and
//     FuzzyComputerNames), user_name and computer_name any part.
//   - Users are everybody who ever was on a desktop of the project, and those of
//     AddPeople.
//   - An unknown project is 404 WKS.00211902; a token asked for another project,
//     or for none, is 403 APIGW.0302.
//   - A client that gives up while it waits for its reply does not stop the
//     detach. It brings it forward unless Config.KeepsTime.
//
// # What it observes
//
// Requests is the log of what arrived, Removals who lost which desktop by which
// call. Of a desktop, DetachedTimes says how often its detach was accepted,
// DetachedInVain how often of these for nothing, and Reads how often it was asked
// for. InTwoCallsAtOnce names the desktops that a client put into overlapping
// calls that passed authentication and were well-formed. A call counts as over
// just before its reply is written, or when it begins to hang: later, a client
// that acts on the reply at once, or has given up, would be accused wrongly.
package fakecloud
