/* Stands for NVIDIA's driver library: one card, or what FAKE_CARD says. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is(const char* word) {
    const char* said = getenv("FAKE_CARD");
    return said && !strcmp(said, word);
}
int cuInit(unsigned flags) {
    if (is("slow")) sleep(2);
    return is("no driver") ? 999 : 0;
}
int cuDeviceGet(int* device, int ordinal) {
    *device = 7;
    return is("no card") || ordinal != 0 ? 100 : 0;
}
int cuDeviceGetName(char* name, int length, int device) {
    strncpy(name, "NVIDIA H100", length);
    return device == 7 ? 0 : 101;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) {
    *bytes = 85520809984;
    return device == 7 ? 0 : 101;
}
