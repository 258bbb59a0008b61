# kvm_target(<target>): the warnings, visibility and sanitizers that all our own code is compiled with.
function(kvm_target target)
  if(MSVC)
    # The sources are UTF-8, whatever the user's code page. C4324: padding that alignas() asks for.
    target_compile_options(${target} PRIVATE /W4 /wd4324 /permissive- /utf-8 /Zc:__cplusplus
                                             $<$<BOOL:${KVMSTREAM_WERROR}>:/WX>)
    # Python's process may hold an older msvcp140.dll, whose mutexes a constexpr constructor does not suit: without
    # this, std::mutex::lock() would crash there.
    target_compile_definitions(${target} PRIVATE _DISABLE_CONSTEXPR_MUTEX_CONSTRUCTOR)
  else()
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                             $<$<BOOL:${KVMSTREAM_WERROR}>:-Werror>)
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
      # GCC bug 80635: false alarm on std::optional, from GCC 16 on in its emplace().
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
      # GCC bug 105651: false alarm on string concatenation.
      target_compile_options(${target} PRIVATE -Wno-restrict)
    endif()
  endif()
  set_target_properties(${target} PROPERTIES CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(KVMSTREAM_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${KVMSTREAM_SANITIZE} -fno-omit-frame-pointer
                                             -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${KVMSTREAM_SANITIZE})
  endif()
endfunction()
