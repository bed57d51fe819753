package fakecloud

import "fmt"

// The parts of the names of typical users.
var (
	givenNames  = []string{"anna", "ben", "carla", "david", "elena", "felix", "greta", "hannah", "ivan", "jonas", "katrin", "liang", "maria", "nadia", "omar", "paula", "rosa", "stefan", "tomas", "yusuf"}
	familyNames = []string{"albrecht", "becker", "costa", "dubois", "ernst", "fischer", "garcia", "huang", "ivanova", "jansen", "keller", "lehmann", "moreau", "novak", "oliveira", "peters", "rossi", "schmidt", "weber", "zhang"}
)

// TypicalID is the id of the i-th typical desktop, a random UUID.
func TypicalID(i int) string { return uuid(1, uint64(i)) }

// Typical is the i-th of as many desktops as one wants, each as large as a real one:
// a random UUID, the computer PC-00042, and one user with a random UUID and a name
// like maria.schmidt-0042. It is the same each time.
func Typical(i int) Desktop {
	n := mix(uint64(i))
	name := fmt.Sprintf("%s.%s-%04d", givenNames[n%20], familyNames[n/20%20], i)
	return Desktop{
		ID: TypicalID(i), ComputerName: fmt.Sprintf("PC-%05d", i),
		Users: []User{{ID: uuid(2, uint64(i)), Name: name, Domain: "corp.example.com"}},
	}
}
