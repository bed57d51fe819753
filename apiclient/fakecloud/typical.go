package fakecloud

import "fmt"

// The parts of the names of typical users.
var (
	givenNames = [...]string{"anna", "ben", "carla", "david", "elena", "felix", "greta", "hannah", "ivan", "jonas",
		"katrin", "liang", "maria", "nadia", "omar", "paula", "rosa", "stefan", "tomas", "yusuf"}
	familyNames = [...]string{"albrecht", "becker", "costa", "dubois", "ernst", "fischer", "garcia", "huang", "ivanova", "jansen",
		"keller", "lehmann", "moreau", "novak", "oliveira", "peters", "rossi", "schmidt", "weber", "zhang"}
)

// TypicalID returns the id of Typical(i), a pseudo-random UUID.
func TypicalID(i int) string { return uuid(1, uint64(i)) }

// Typical returns desktop i of any number of desktops that are as large as real ones: a
// pseudo-random UUID, a computer name such as PC-00042, and one user with a UUID and a name
// such as maria.schmidt-0042. It is the same for the same i.
func Typical(i int) Desktop {
	n := mix(uint64(i))
	name := fmt.Sprintf("%s.%s-%04d", givenNames[n%20], familyNames[n/20%20], i)
	return Desktop{
		ID: TypicalID(i), ComputerName: fmt.Sprintf("PC-%05d", i),
		Users: []User{{ID: uuid(2, uint64(i)), Name: name, Domain: "corp.example.com"}},
	}
}
