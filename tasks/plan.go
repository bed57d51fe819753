package tasks

// MaxPlanned is how many desktops and users a plan looks at, at most; and about as
// many again of the desktops that it finds by their users.
const MaxPlanned = 1000

// Planned is what would become of a desktop, or of a user, if a request ran now.
type Planned struct {
	ID     string   `json:"id"` // a desktop id, or "user:" and a name, as of Desktop
	Expect []string `json:"expected_users,omitempty"`
	// Does is what happens first: send, done (nothing to do), follow, later (busy) or
	// hold. Of a user: find (their desktops follow as rows of their own), done (they
	// have none), or hold.
	Does string   `json:"does"`
	From []Person `json:"from,omitempty"` // who loses access; the cloud's text
	Now  *Before  `json:"now,omitempty"`  // what it was read as; left out where it does not exist
	Code string   `json:"code,omitempty"` // of what holds or delays it
	Why  string   `json:"why,omitempty"`
}
