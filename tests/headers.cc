// The program whose precompiled headers all tests share (cmake/SweepBuild.cmake).
int main() {}
