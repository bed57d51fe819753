// Package dashboard serves the pages for people: what needs attention, operations, failures
// and bulk retries, desktops, projects and keys. Visitors sign in with a key and see and do
// what its role allows. Every page asks the HTTP API within the process as the holder of
// that key, so that one place decides about rights.
//
// Pages are rendered on the server, work without scripts, and load nothing from elsewhere.
// A small script keeps them up to date. All text of people and of the cloud is hostile
// input: html/template escapes it, and the Content-Security-Policy blocks scripts in it.
package dashboard
