// Package dashboard is the pages for people: what needs somebody, operations,
// failures and redrives, desktops, projects and keys. Whoever signs in with a key
// sees and does what the key's role allows: every page asks the HTTP API within
// the process as the holder of that key, so that there is one place that decides.
//
// Pages are rendered here, need no script to work, and load nothing from
// elsewhere. The little script keeps what moves up to date. All text of people and
// of the cloud is hostile input: html/template escapes it, and the
// Content-Security-Policy would not run it.
package dashboard
